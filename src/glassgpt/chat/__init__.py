"""Making a base answer: messages, templates, and a conversation with its history and stops."""

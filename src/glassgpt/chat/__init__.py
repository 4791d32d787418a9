"""Chat with a fine-tuned model: messages, templates, and conversations with history and stop tokens."""

"""An HTTP server for runs, with the interface that OpenAI's clients know."""

"""The stories that come with GlassGPT, as plain text files."""

"""GlassGPT: turn text you own into a language model you can talk to, and see through every step."""

__version__ = "0.1.0"

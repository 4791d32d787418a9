"""The run directory: what training writes, and how it is opened again."""

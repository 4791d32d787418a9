"""Small trained additions to a frozen model: LoRA, and its file format."""

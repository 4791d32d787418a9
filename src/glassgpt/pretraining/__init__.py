"""From raw text to a trained run: the rooms below, joined."""

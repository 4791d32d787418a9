"""From a base model to one that classifies, answers, prefers: each kind is an example builder and a loss."""

"""From a base model to one that classifies, answers or prefers: each kind builds examples and defines a loss."""

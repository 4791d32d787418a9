"""How good a model is: loss, perplexity, bits per byte, and stories scored by their grammar."""

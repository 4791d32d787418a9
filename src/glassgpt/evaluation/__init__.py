"""How good a model is: its loss on text, probes of what it can do, and tasks of lm-eval."""

"""How other projects name and shape what our model has: families of Hugging Face architectures."""

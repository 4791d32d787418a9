"""How other projects name and shape the parts of our model: families of Hugging Face architectures."""

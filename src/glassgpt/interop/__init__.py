"""Import and export of models: Hugging Face folders, GGUF, ONNX, old notebooks."""

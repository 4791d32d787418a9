"""Models in and out: Hugging Face folders, GGUF, ONNX, old notebooks."""

"""What GlassGPT is compared with: other recipes in textbook PyTorch, and other libraries."""

"""Text to ids and back: four tokenizers written from scratch, and fast engines that give the same ids."""

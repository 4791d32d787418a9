"""Text to ids and back: four tokenizers written from scratch, and the fast engines that give the same ids."""

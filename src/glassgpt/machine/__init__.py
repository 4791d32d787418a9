"""Facts and measurements of this machine: the only source for every choice of speed."""

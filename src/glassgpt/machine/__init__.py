"""What this machine is and does: measured with care, kept, and the one source of every choice of speed."""

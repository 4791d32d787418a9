"""What this machine has and lacks, how fast it is, and whether everything works."""

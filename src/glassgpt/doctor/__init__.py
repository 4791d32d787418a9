"""What this machine is, does and lacks, and whether everything works on it: for people and for bug reports."""

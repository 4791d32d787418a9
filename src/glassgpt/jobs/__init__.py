"""Combines the packages into a running training; each kind provides its batches, its loss and its metrics."""

"""Answers about what a model computes, made to be read: in a terminal, or as one page."""

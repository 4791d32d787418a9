"""Ids to a stream of tokens to text."""

"""From ids to a stream of tokens to text."""

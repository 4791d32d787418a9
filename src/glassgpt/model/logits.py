"""How many logits are held at a time: limits that the loss keeps, and that the estimate of memory counts with.

A row of logits has one number for each word of the vocabulary, and a batch has a row for each token: with 50,257
words that is far more than everything else a small model computes. So training takes them a chunk at a time (see
`glassgpt.training.linear_cross_entropy`), unless all of them are few.
"""

SMALL_LOGITS = 16 << 20
"""Bytes of logits below which all of them at once are as fast: they fit into a processor's last cache."""
CHUNK_BYTES = {"cpu": 48 << 20, "cuda": 1 << 30, "mps": 256 << 20}
"""Most memory for one chunk of logits. Fewer, larger products run faster, up to about this size."""

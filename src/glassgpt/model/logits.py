"""How many logits are in memory at a time: limits that the loss keeps and the memory estimate uses.

A row of logits has one number for each token of the vocabulary, and a batch has one row for each token of text. With
50,257 ids that is far more than everything else a small model computes. So training computes them in chunks (see
`glassgpt.training.linear_cross_entropy`), unless there are few.
"""

SMALL_LOGITS = 16 << 20
"""Bytes of logits below which computing all at once is as fast: they fit into a processor's last-level cache."""
CHUNK_BYTES = {"cpu": 48 << 20, "cuda": 1 << 30, "mps": 256 << 20}
"""Most bytes for one chunk of logits. Fewer, larger products run faster, up to about this size."""

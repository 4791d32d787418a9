"""Attention in five steps, each adding one idea to the one before. Read it from top to bottom.

The model runs `attention.Attention`, where a fused kernel hides the arithmetic. Here every step of the
arithmetic is written out: five short pieces, slow and plain. With the same weights the last one computes
exactly what the model does (tests show it), so if you follow the steps you understand the model's attention.

    1  simplified_attention   tokens mix by similarity                    nothing to learn
    2  SelfAttention          queries, keys and values                    three learned matrices
    3  CausalAttention        no looking ahead; dropout                   fit for predicting text
    4  SideBySideHeads        several attentions at once, joined          several kinds of relation
    5  FusedAttention         the same numbers from one matrix            fast

The purpose: a token's vector should collect what matters from the other tokens. In "the cat slept because
it was tired", "it" should receive information about the cat. Which tokens matter depends on the text, so
the mixing weights cannot be fixed numbers; they are computed from the tokens themselves.

Legend: B batch, T tokens (S for the same tokens when they are attended to), C width of a token's vector,
H heads, D width of a head, with H D = C from step 4 on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def simplified_attention(x_TC: Tensor) -> Tensor:
    """Step 1. Replace each token's vector with a mean of all vectors, weighted by similarity; (T, C) to (T, C).

    Similarity is the dot product: it is large where two vectors point the same way. One matrix product gives
    it for all pairs. Softmax makes each row positive with sum 1, so that the last product is a weighted mean.
    This already moves information between tokens, but the model cannot learn what counts as similar.
    """
    likeness_TS = x_TC @ x_TC.T
    weights_TS = likeness_TS.softmax(dim=-1)
    return weights_TS @ x_TC


class SelfAttention(nn.Module):
    """Step 2. Give each token three roles, each a learned matrix: query, key and value.

    The query says what a token looks for, the key how it can be found, the value what it passes on.
    Now "it" can look for nouns without being similar to a noun. There are three matrices because the roles
    differ: what makes a token easy to find is not what makes it useful.

    The dot product of two vectors of D random numbers grows like sqrt(D), and softmax of large numbers
    puts all weight on one token, where the gradient vanishes. Dividing by sqrt(D) prevents this.
    """

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, head_dim, bias=False)
        self.key = nn.Linear(width, head_dim, bias=False)
        self.value = nn.Linear(width, head_dim, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, D). The batch is new here: B texts at once that do not see each other."""
        q_BTD, k_BSD, v_BSD = self.query(x_BTC), self.key(x_BTC), self.value(x_BTC)
        scores_BTS = q_BTD @ k_BSD.transpose(1, 2) / math.sqrt(q_BTD.shape[-1])
        weights_BTS = scores_BTS.softmax(dim=-1)
        return weights_BTS @ v_BSD


class CausalAttention(SelfAttention):
    """Step 3. Hide the future, and drop some of the attention weights in training.

    The model learns to predict token t + 1 at position t, at all positions of a text in one pass. A
    position that could see its answer would learn to copy it. So the scores of later tokens are set to minus
    infinity before softmax: their weight is exactly 0, and the rest of the row still sums to 1.

    Dropout zeroes random weights in training and scales up the others, so that the model does not depend
    on a single token. In evaluation it does nothing.
    """

    def __init__(self, width: int, head_dim: int, dropout: float = 0.0) -> None:
        super().__init__(width, head_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, D); row t depends only on tokens 0 to t."""
        q_BTD, k_BSD, v_BSD = self.query(x_BTC), self.key(x_BTC), self.value(x_BTC)
        scores_BTS = q_BTD @ k_BSD.transpose(1, 2) / math.sqrt(q_BTD.shape[-1])
        scores_BTS = scores_BTS.masked_fill(future(x_BTC), -math.inf)
        weights_BTS = self.dropout(scores_BTS.softmax(dim=-1))
        return weights_BTS @ v_BSD


def future(x_BTC: Tensor) -> Tensor:
    """Return which tokens each token must not see, (T, S): true above the diagonal."""
    tokens = x_BTC.shape[1]
    return torch.ones(tokens, tokens, dtype=torch.bool, device=x_BTC.device).triu(diagonal=1)


class SideBySideHeads(nn.Module):
    """Step 4. Let H small attentions process the same text, and join their results.

    One softmax gives one mixture: a head that attends to the noun cannot also attend to the previous word.
    Several heads, each D = C / H wide, cost no more than one of width C and can attend to different tokens.
    Their results are concatenated to C numbers, and an output matrix combines them.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = nn.ModuleList(CausalAttention(width, width // heads, dropout) for _ in range(heads))
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        joined_BTC = torch.cat([head(x_BTC) for head in self.heads], dim=-1)
        return self.output(joined_BTC)


class FusedAttention(nn.Module):
    """Step 5. Compute all heads at once: the same numbers, in far fewer and larger operations.

    The 3 H small matrices are stacked into one of 3 C rows: first all queries, head by head, then all
    keys, then all values. Its output is split into heads. The head becomes one more batch dimension, so
    one product computes all of them. This is the layout of the model's weights.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        q_BHTD, k_BHSD, v_BHSD = (self.split(part) for part in self.qkv(x_BTC).chunk(3, dim=-1))
        scores_BHTS = q_BHTD @ k_BHSD.transpose(2, 3) / math.sqrt(q_BHTD.shape[-1])
        scores_BHTS = scores_BHTS.masked_fill(future(x_BTC), -math.inf)
        weights_BHTS = self.dropout(scores_BHTS.softmax(dim=-1))
        mixed_BTHD = (weights_BHTS @ v_BHSD).transpose(1, 2)
        joined_BTC = mixed_BTHD.flatten(2)
        return self.output(joined_BTC)

    def split(self, part_BTC: Tensor) -> Tensor:
        """Split C numbers into H heads of D and move the heads forward: (B, T, C) to (B, H, T, D)."""
        part_BTHD = part_BTC.unflatten(-1, (self.heads, -1))
        return part_BTHD.transpose(1, 2)


@torch.no_grad()
def fuse(side_by_side: SideBySideHeads) -> FusedAttention:
    """Return step 5 with the weights of step 4: the same function, stacked."""
    width = side_by_side.output.in_features
    heads = [head for head in side_by_side.heads if isinstance(head, CausalAttention)]
    fused = FusedAttention(width, len(heads), heads[0].dropout.p)
    roles = ("query", "key", "value")
    stacked_3CC = torch.cat([getattr(head, role).weight for role in roles for head in heads])
    fused.qkv.weight.copy_(stacked_3CC)
    fused.output.weight.copy_(side_by_side.output.weight)
    return fused.train(side_by_side.training)

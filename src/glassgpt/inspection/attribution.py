"""Which tokens of a text matter for a prediction: gradients, integrated gradients and occlusion.

    y(e) = log p(target | text)        e (T, C): the vectors of the tokens

    gradients     e_t . dy/de_t                                what an infinitely small change of the vectors would do
    integrated    (e_t - b_t) . mean of dy/de_t from b to e    adds up to y(e) - y(b)
    occlusion     y(e) - y(e with e_t replaced)                what replacing one vector does

All three work on the output of `model.token_embedding`, not on the point `embedding`. There positions are already
added, and sinusoidal ones are not small beside the vectors of tokens: a path from 0 would also remove the positions. A
hook on the module replaces its output; a tied head reads the weight itself, so it does not change.

Only the tokens up to the place of the prediction are given to the model, because no later one has an effect on it.

Legend: B rows, T tokens, C = n_embd, V vocabulary, S steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.inspection.checks import place_of, require_ids
from glassgpt.inspection.lens import log_probabilities
from glassgpt.inspection.seen import as_row
from glassgpt.model.gpt import GPT
from glassgpt.model.int8 import Int8Linear
from glassgpt.model.modes import evaluating

NUMBERS_AT_ONCE = 1 << 26
"""Most numbers that are kept for a gradient at a time: 256 MB. One row is always computed."""
NEAR_BASELINE = 3
"""Power by which the steps of integrated gradients are denser near the baseline: u = v^3, with v divided evenly."""
NODES = 8
"""Gradients computed for each piece of the path."""


@dataclass(frozen=True)
class Integrated:
    """Integrated gradients of one prediction."""

    tokens: Tensor
    """What each token adds to the log-probability in nats, (T,)."""
    difference: float
    """Log-probability of the target for the text, less that for the baseline."""

    @property
    def gap(self) -> float:
        """How far the sum is from the difference; it is the error of the numerical integration."""
        return float(self.tokens.sum()) - self.difference


def gradients(model: GPT, ids: Sequence[int], *, place: int = -1, target: int | None = None) -> Tensor:
    """Return gradient times input of the target's log-probability at a place, with signs, (T,) on the CPU.

        a_t = e_t . d log p(target) / d e_t

    The gradient is that of Simonyan et al. (2014, "Deep Inside Convolutional Networks"), and its product with the input
    that of Shrikumar et al. (2017, "Learning Important Features Through Propagating Activation Differences"). Without
    a target, it is the likeliest id. Tokens after the place have 0. Raises `InspectionError` for a text that the
    context does not hold, a place outside it, a target outside the vocabulary, and weights that have no gradients.
    """
    place, row_1T = _prediction(model, ids, place, target)
    with differentiable(model):
        vectors_1TC = _vectors(model, row_1T)
        target = _target(model, row_1T, target)
        slope_1TC = _slopes(model, row_1T, vectors_1TC, target)
        return _on_text((slope_1TC * vectors_1TC).sum(-1)[0], len(ids))


def integrated(
    model: GPT,
    ids: Sequence[int],
    *,
    place: int = -1,
    target: int | None = None,
    baseline: int | Tensor | None = None,
    steps: int = 512,
    tolerance: float = 1e-3,
) -> Integrated:
    """Return integrated gradients of the target's log-probability (Sundararajan et al., 2017, section 3).

        a_t = (e_t - b_t) . integral over u from 0 to 1 of d log p(target) / d e_t at b + u (e - b)

    `baseline` is b: zeros if None, the vector of an id, or vectors (C,) or (T, C). The attributions add up to the
    difference of the log-probabilities (completeness); `gap` says how closely.

    The paper's sum over equal steps (equation 3) is replaced by Gauss-Legendre quadrature over pieces of the path.
    Norms remove the length of a vector, so that near a baseline of zeros the log-probability changes within a millionth
    of the path, which equal steps miss. Completeness holds for each piece as well, which gives the error of each: the
    piece with the largest is halved until all errors together are below `tolerance` (nats), or until `steps` gradients
    are computed.

    Raises `InspectionError` as `gradients` does, and for a baseline of another shape and too few steps.
    """
    place, row_1T = _prediction(model, ids, place, target)
    if steps < NODES:
        raise InspectionError(f"Integrated gradients need {NODES} steps or more, not {steps}.")
    with differentiable(model):
        vectors_1TC = _vectors(model, row_1T)
        target = _target(model, row_1T, target)
        start_TC = _baseline(model, baseline, len(ids))[: place + 1].to(vectors_1TC)
        path = _Path(model, row_1T, start_TC, vectors_1TC[0] - start_TC, target)
        pieces = [path.piece(0.0, 1.0, *path.ends())]
        done = NODES
        while done + 2 * NODES <= steps and sum(piece.error for piece in pieces) > tolerance:
            pieces.sort(key=lambda piece: piece.error)
            pieces += path.halves(pieces.pop())
            done += 2 * NODES
        total_T = torch.stack([piece.tokens for piece in pieces]).sum(0)
        return Integrated(_on_text(total_T, len(ids)), sum(piece.difference for piece in pieces))


@dataclass(frozen=True)
class _Piece:
    """A part of the path, from v = `start` to `end`."""

    start: float
    end: float
    before: float
    """The log-probability at its start."""
    after: float
    tokens: Tensor
    """Integrated gradients along the piece, (T,)."""

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def error(self) -> float:
        return abs(float(self.tokens.sum()) - self.difference)


@dataclass(frozen=True)
class _Path:
    """The straight line from a baseline to the vectors of a text: start + v^`NEAR_BASELINE` way, for v from 0 to 1."""

    model: GPT
    row_1T: Tensor
    start_TC: Tensor
    way_TC: Tensor
    target: int

    def ends(self) -> tuple[float, float]:
        """Return the log-probability at the baseline and at the text."""
        return self._value(0.0), self._value(1.0)

    def piece(self, start: float, end: float, before: float, after: float) -> _Piece:
        """Return the integral from v = start to end, with the log-probabilities there."""
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        v = start + (end - start) * (nodes + 1) / 2
        stretch = NEAR_BASELINE * v ** (NEAR_BASELINE - 1)  # du / dv
        weights_S = torch.from_numpy(weights * stretch * (end - start) / 2).to(self.way_TC)
        tokens_T = torch.zeros_like(self.way_TC[:, 0])
        at_once = _rows_at_once(self.model, len(tokens_T))
        for v_B, weights_B in zip(torch.from_numpy(v).split(at_once), weights_S.split(at_once), strict=True):
            slopes_BTC = _slopes(self.model, self.row_1T, self._at(v_B), self.target)
            tokens_T += torch.einsum("b,btc,tc->t", weights_B, slopes_BTC, self.way_TC)
        return _Piece(start, end, before, after, tokens_T)

    def halves(self, piece: _Piece) -> list[_Piece]:
        """Return the two halves of a piece."""
        middle = (piece.start + piece.end) / 2
        value = self._value(middle)
        return [
            self.piece(piece.start, middle, piece.before, value),
            self.piece(middle, piece.end, value, piece.after),
        ]

    def _at(self, v_B: Tensor) -> Tensor:
        shares_B = (v_B**NEAR_BASELINE).to(self.way_TC)
        return self.start_TC + shares_B[:, None, None] * self.way_TC

    @torch.no_grad()
    def _value(self, v: float) -> float:
        vectors_1TC = self._at(torch.tensor([v], dtype=torch.float64))
        return float(_log_probability(self.model, self.row_1T, vectors_1TC, self.target))


@torch.inference_mode()
def occlusion(
    model: GPT,
    ids: Sequence[int],
    *,
    place: int = -1,
    target: int | None = None,
    by: int | str = "mean embedding",
) -> Tensor:
    """Return by how much the target's log-probability falls when each token is replaced, in nats, (T,) on the CPU.

        a_t = log p(target) - log p(target with the vector of token t replaced)

    The vector becomes the mean over the vocabulary, or with an id as `by`, that of the id. Hiding parts of the input is
    from Zeiler and Fergus (2014, "Visualizing and Understanding Convolutional Networks", section 4.2); the fall in
    log-likelihood of text from Li et al. (2016, "Understanding Neural Networks through Representation Erasure"), who
    divide it by the log-likelihood. Tokens after the place have 0. Raises `InspectionError` as `gradients` does, except
    that any weights will do.
    """
    place, row_1T = _prediction(model, ids, place, target)
    with evaluating(model):
        vectors_1TC = _vectors(model, row_1T)
        target = _target(model, row_1T, target)
        new_C = _replacement(model, by)
        whole = _log_probability(model, row_1T, vectors_1TC, target)
        after = []
        for places_B in torch.arange(place + 1, device=row_1T.device).split(_rows_at_once(model, place + 1)):
            rows_BTC = vectors_1TC.repeat(len(places_B), 1, 1)
            rows_BTC[torch.arange(len(places_B), device=places_B.device), places_B] = new_C
            after.append(_log_probability(model, row_1T, rows_BTC, target))
        return _on_text(whole - torch.cat(after), len(ids))


@contextlib.contextmanager
def differentiable(model: GPT) -> Iterator[None]:
    """Allow gradients with respect to inputs during the block, in evaluation mode, and none to the weights.

    It works under an outer `no_grad` or `inference_mode`. Weights whose `requires_grad` is set have it again after the
    block, and their `.grad` does not change. Raises `InspectionError` for weights that torch cannot differentiate
    through: those packed in 8 bits, and those made in inference mode.
    """
    if any(isinstance(module, Int8Linear) and module.is_packed for module in model.modules()):
        raise InspectionError(
            "The weights are packed in 8 bits, and have no gradients. Open the model in float32."
        )
    if any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers())):
        raise InspectionError(
            "The weights were made in inference mode, and have no gradients. Open the model outside "
            "`torch.inference_mode()`."
        )
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        try:
            for weight in trained:
                weight.requires_grad_(False)
            yield
        finally:
            for weight in trained:
                weight.requires_grad_(True)


def _prediction(model: GPT, ids: Sequence[int], place: int, target: int | None) -> tuple[int, Tensor]:
    """Return the place from the beginning, and the tokens up to it, (1, T)."""
    as_row(model, ids)  # refuses what the context does not hold, before the place is looked for
    place = place_of(ids, place)
    if target is not None:
        require_ids(model.config, [target], what="target")
    with torch.inference_mode(False):
        return place, as_row(model, ids[: place + 1])


def _vectors(model: GPT, row_1T: Tensor) -> Tensor:
    """Return the vectors of the tokens without positions, (1, T, C)."""
    with torch.no_grad():
        return model.token_embedding(row_1T).detach()


@contextlib.contextmanager
def _given(model: GPT, vectors_BTC: Tensor) -> Iterator[None]:
    """Make these the vectors of the tokens during the block."""
    handle = model.token_embedding.register_forward_hook(lambda *_: vectors_BTC)
    try:
        yield
    finally:
        handle.remove()


def _log_probability(model: GPT, row_1T: Tensor, vectors_BTC: Tensor, target: int) -> Tensor:
    """Return the log-probability of the target after the last token of each row, (B,)."""
    with _given(model, vectors_BTC):
        logits_BV = model(row_1T.expand(len(vectors_BTC), -1), then=_last)
    return log_probabilities(logits_BV)[:, target]


def _last(model: GPT, hidden_BTC: Tensor) -> Tensor:
    return model.logits(hidden_BTC[:, -1])


def _target(model: GPT, row_1T: Tensor, target: int | None) -> int:
    if target is not None:
        return target
    with torch.no_grad():
        return int(model(row_1T, then=_last)[0].argmax())


def _slopes(model: GPT, row_1T: Tensor, vectors_BTC: Tensor, target: int) -> Tensor:
    """Return the gradient of each row's log-probability with respect to its vectors, (B, T, C)."""
    vectors_BTC = vectors_BTC.detach().requires_grad_(True)
    log_p_B = _log_probability(model, row_1T, vectors_BTC, target)
    return torch.autograd.grad(log_p_B.sum(), vectors_BTC)[0]


def _baseline(model: GPT, baseline: int | Tensor | None, length: int) -> Tensor:
    """Return the vectors at which the path begins, (T, C)."""
    width = model.config.n_embd
    if baseline is None:
        return torch.zeros(length, width)
    if isinstance(baseline, Tensor):
        if tuple(baseline.shape) not in ((width,), (length, width)):
            raise InspectionError(
                f"The baseline has the shape {tuple(baseline.shape)}. Give one vector, ({width},), or one for each "
                f"token, ({length}, {width})."
            )
        return baseline.detach().clone().expand(length, width)
    require_ids(model.config, [baseline], what="baseline")
    return _vector_of(model, baseline).expand(length, width)


def _replacement(model: GPT, by: int | str) -> Tensor:
    """Return the vector that takes a token's place, (C,)."""
    if isinstance(by, int):
        require_ids(model.config, [by], what="replacement")
        return _vector_of(model, by)
    if by != "mean embedding":
        raise InspectionError(f"A token cannot be replaced by {by!r}. Give 'mean embedding' or an id.")
    return model.token_embedding.weight.mean(0)


def _vector_of(model: GPT, id: int) -> Tensor:
    return _vectors(model, torch.tensor([[id]], device=model.token_embedding.weight.device))[0, 0]


def _rows_at_once(model: GPT, length: int) -> int:
    """Return how many rows of this length keep at most `NUMBERS_AT_ONCE` numbers, about; 1 at least."""
    config = model.config
    of_block = (
        10 * config.n_embd + 4 * config.mlp_width + 6 * config.attention_width + 2 * config.n_head * length
    )
    of_row = length * config.n_layer * of_block + 3 * config.vocab_size
    return max(1, NUMBERS_AT_ONCE // of_row)


def _on_text(values_T: Tensor, length: int) -> Tensor:
    """Return values of the first tokens on the CPU, followed by zeros for the others, (length,)."""
    values_T = values_T.detach().cpu()
    return torch.cat([values_T, values_T.new_zeros(length - len(values_T))])

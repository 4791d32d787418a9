"""Ten ideas that a language model is made of: what each is, why, its numbers in this run, and the line that does it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from glassgpt.explaining.shapes import Answer, Bars, Rows, Shown, scaled
from glassgpt.explaining.views import Asked, name_of_weights, numbered, percent, signed
from glassgpt.inspection import places
from glassgpt.inspection.update import one_update
from glassgpt.model import attend
from glassgpt.model.attention import Attention
from glassgpt.model.gpt import GPT, Block
from glassgpt.model.layers import MLP, GatedMLP, RMSNorm, layer_norm
from glassgpt.model.positions import rotate
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.training import trainer

NUMBERS = 6
"""Numbers of a vector that are shown."""
FEW = 8


@dataclass(frozen=True)
class Line:
    """A line of the source: the first in a function that has a fragment."""

    of: Any
    fragment: str

    def __str__(self) -> str:
        source, first = inspect.getsourcelines(self.of)
        number = next(number for number, line in enumerate(source) if self.fragment in line)
        place = inspect.getmodule(self.of).__name__.replace(".", "/")  # pyright: ignore[reportOptionalMemberAccess]
        return f"{place}.py, line {first + number}:  {source[number].strip()}"


Numbers = tuple[tuple[Shown, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Stop:
    """One idea of the tour."""

    name: str
    title: str
    what: str
    why: str
    numbers: Callable[[Asked], Numbers]
    line: Callable[[Asked], Line]


def stops(asked: Asked) -> list[Answer]:
    """Return the ten stops for a text. Raises `InspectionError` where the context does not hold it."""
    return [
        Answer(
            stop.name,
            f"{number}. {stop.title}",
            stop.what,
            str(stop.line(asked)),
            *stop.numbers(asked),
            stop.why,
        )
        for number, stop in enumerate(STOPS, start=1)
    ]


def _first(vector: torch.Tensor) -> str:
    shown = "  ".join(signed(value) for value in vector[:NUMBERS].tolist())
    return f"{shown}  ..." if len(vector) > NUMBERS else shown


def _last(asked: Asked) -> str:
    return asked.columns[-1]


def _tokens(asked: Asked) -> Numbers:
    return (numbered(asked),), (f"The vocabulary has {asked.model.config.vocab_size:,} pieces.",)


def _embedding(asked: Asked) -> Numbers:
    rows_TC = asked.model.token_embedding.weight.detach().float().cpu()[list(asked.traced.ids)]
    table = Rows(
        "The first numbers of each token's row in the table.",
        ("token", "vector"),
        tuple((name, _first(row)) for name, row in list(zip(asked.columns, rows_TC, strict=True))[-FEW:]),
        texts=("token", "vector"),
    )
    return (table,), (f"Each token becomes {rows_TC.shape[1]:,} numbers, which training has chosen.",)


def _positions(asked: Asked) -> Numbers:
    kind, place = asked.model.config.positions, len(asked.traced) - 1
    if kind == "none":
        return (), ("This model has none: it knows the order only because no token sees a later one.",)
    if kind == "rotary":
        turned = places.rotations(asked.model)
        degrees = torch.rad2deg(place * 2 * torch.pi / turned.wavelengths_E) % 360
        text = "  ".join(f"{value:.0f}°" for value in degrees[:NUMBERS].tolist())
        return (), (
            f"{_last(asked)} stands at place {place}. The pairs of numbers of its queries and keys are turned by "
            f"{text}{'  ...' if len(degrees) > NUMBERS else ''}",
        )
    vectors_TC = places.position_vectors(asked.model)
    return (), (
        f"{_last(asked)} stands at place {place}. The vector of this place: {_first(vectors_TC[place])}",
    )


def _attention(asked: Asked) -> Numbers:
    scores_T, weights_T = asked.traced.scores(0)[0, -1], asked.traced.weights(0)[0, -1]
    best = weights_T.topk(min(FEW, len(weights_T))).indices.sort().values.tolist()
    table = Rows(
        f"The first head of the first layer, for {_last(asked)}: query times key, and what softmax makes of it.",
        ("token", "score", "weight"),
        tuple(
            (asked.columns[place], signed(scores_T[place].item()), percent(weights_T[place].item()))
            for place in best
        ),
        texts=("token",),
    )
    return (table,), ("The weights of all tokens that it sees add up to 100%.",)


def _heads(asked: Asked) -> Numbers:
    rows = []
    for layer in range(asked.model.config.n_layer):
        for head, weights_T in enumerate(asked.traced.weights(layer)[:, -1]):
            place = int(weights_T.argmax())
            rows.append((str(layer), str(head), asked.columns[place], percent(weights_T[place].item())))
    shown = rows[: 2 * FEW]
    table = Rows(
        f"Where each head looks most for {_last(asked)}.",
        ("layer", "head", "looks at", "weight"),
        tuple(shown),
        texts=("looks at",),
    )
    more = f" The first {len(shown)} are shown." if len(shown) < len(rows) else ""
    return (table,), (f"This model has {len(rows)} heads.{more}",)


def _mlp(asked: Asked) -> Numbers:
    neurons_F = asked.traced.at("blocks.0.neurons")[-1]
    indices = neurons_F.abs().topk(min(FEW, len(neurons_F))).indices.tolist()
    bars = Bars(
        f"The most active neurons of the first layer for {_last(asked)}.",
        tuple(f"neuron {index}" for index in indices),
        tuple(signed(neurons_F[index].item()) for index in indices),
        scaled([neurons_F[index].item() for index in indices]),
    )
    active = int((neurons_F > 0).sum())
    return (bars,), (f"{active} of {len(neurons_F)} neurons are above 0.",)


def _residual(asked: Asked) -> Numbers:
    at = asked.traced.at
    names = ("input", "attention", "middle", "mlp", "output")
    said = ("comes in", "attention adds", "together", "the MLP adds", "goes out")
    table = Rows(
        f"The stream of {_last(asked)} in the first block: its first numbers, and its length.",
        ("part", "vector", "length"),
        tuple(
            (words, _first(at(f"blocks.0.{name}")[-1]), f"{at(f'blocks.0.{name}')[-1].norm():.2f}")
            for name, words in zip(names, said, strict=True)
        ),
        texts=("part", "vector"),
    )
    return (table,), ("Each sum goes on to the next part: nothing is overwritten.",)


def _norm(asked: Asked) -> Numbers:
    before, after = (asked.traced.at(f"blocks.0.{name}")[-1] for name in ("input", "attention_input"))
    table = Rows(
        f"The vector of {_last(asked)} before and after the first norm.",
        ("vector", "mean", "root mean square", "largest"),
        tuple(
            (words, signed(x.mean().item()), f"{x.square().mean().sqrt():.2f}", f"{x.abs().max():.2f}")
            for words, x in (("before", before), ("after", after))
        ),
        texts=("vector",),
    )
    return (table,), (f"This model uses {asked.model.config.norm}.",)


def _logits(asked: Asked) -> Numbers:
    logits_V = asked.traced.arrays["logits"][-1]
    values, ids = logits_V.topk(min(FEW, len(logits_V)))
    table = Rows(
        f"The highest scores after {_last(asked)}, and the probabilities that softmax makes of them.",
        ("token", "logit", "probability"),
        tuple(
            (asked.piece(id), f"{value:.2f}", percent(asked.next_probabilities[id].item()))
            for id, value in zip(ids.tolist(), values.tolist(), strict=True)
        ),
        texts=("token",),
    )
    return (table,), (f"There are {len(logits_V):,} such numbers, and their probabilities add up to 100%.",)


def _training(asked: Asked) -> Numbers:
    ids = asked.traced.ids
    if len(ids) < 2:
        return (), ("A text of one token has nothing to predict.",)
    update = one_update(asked.model, [ids])
    table = Rows(
        "Forward: the loss. Backward: how the loss would change with each weight (the length of the gradient). Then "
        "AdamW moves the weights, here those of a copy.",
        ("part", "gradient", "change"),
        tuple(
            (name_of_weights(block.name), f"{block.gradient:.3f}", f"{block.change:.4f}")
            for block in update.blocks
        ),
        texts=("part",),
    )
    return (table,), (
        f"After one step the loss of this text is {update.loss_after:.3f} instead of {update.loss_before:.3f}.",
    )


def _line_of_positions(asked: Asked) -> Line:
    kind = asked.model.config.positions
    if kind == "rotary":
        return Line(rotate, "return")
    return Line(GPT.embed, {"learned": "position_embedding", "sinusoidal": "+ encoded"}.get(kind, "return"))


STOPS = (
    Stop(
        "tokenisation",
        "Tokenisation",
        "The text is cut into pieces from a vocabulary, and each piece is replaced by its number.",
        "A model computes with numbers. Pieces keep the vocabulary small and can still spell any word.",
        _tokens,
        lambda _: Line(FastTokenizer.encode, "self._encoder.encode"),
    ),
    Stop(
        "embedding",
        "Embedding",
        "The number of each token picks a row of a table: a vector.",
        "A number such as 517 says nothing about a word. A vector has room for many properties.",
        _embedding,
        lambda _: Line(GPT.embed, "self.token_embedding"),
    ),
    Stop(
        "positions",
        "Positions",
        "Each token gets its place in the text.",
        "Attention looks at a set of tokens. Without positions it could not tell the first from the last.",
        _positions,
        _line_of_positions,
    ),
    Stop(
        "attention",
        "Attention",
        "Each token asks (query), each earlier one offers (key). Where they fit, its value is taken over.",
        "What a word means depends on the words before it.",
        _attention,
        lambda _: Line(attend.attention_weights, "softmax"),
    ),
    Stop(
        "heads",
        "Heads",
        "Attention happens several times side by side, each time with other queries, keys and values.",
        "A token can look for several things at once: the subject, the last comma, an earlier name.",
        _heads,
        lambda _: Line(Attention.project, "split"),
    ),
    Stop(
        "feed-forward",
        "Feed forward",
        "Each token's vector goes through two layers of neurons (MLP), alone.",
        "Attention only moves information. The MLP computes with it, and holds much of what the model knows.",
        _mlp,
        lambda asked: Line(
            (GatedMLP if asked.model.config.activation == "swiglu" else MLP).forward, "self.activation"
        ),
    ),
    Stop(
        "residual",
        "Residual stream",
        "Attention and MLP do not replace a token's vector. What they compute is added to it.",
        "So every block can read what all others wrote, and gradients reach the first block.",
        _residual,
        lambda _: Line(Block.forward, "x_BTC + self.dropout(attended"),
    ),
    Stop(
        "norm",
        "Layer norm",
        "Before attention and MLP each vector is brought to the same size.",
        "The stream grows from block to block. Without norms, training would become unstable.",
        _norm,
        lambda asked: (
            Line(RMSNorm.forward, "rms_norm")
            if asked.model.config.norm == "rmsnorm"
            else Line(layer_norm, "LayerNorm(width")
        ),
    ),
    Stop(
        "logits",
        "Logits",
        "The last vector is compared with every token: a score each. Softmax makes probabilities of them.",
        "This is the answer of the model: not a word, but how likely each one is.",
        _logits,
        lambda asked: Line(GPT.logits, "F.linear" if asked.model.head is None else "self.head(hidden)"),
    ),
    Stop(
        "training",
        "Forward and backward",
        "The loss says how surprised the model was. Its gradient says how each weight has to change.",
        "All numbers that you have seen came from repeating this step.",
        _training,
        lambda _: Line(trainer, "loss.backward()"),
    ),
)

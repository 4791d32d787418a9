"""Each question that `glassgpt explain` answers: a function of `glassgpt.inspection`, and how its result is shown.

A view takes what was asked and returns what is shown, with sentences about what was found. `VIEWS` lists them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from glassgpt.errors import GlassGPTError, InspectionError
from glassgpt.explaining.shapes import ALL, Answer, Bars, Grid, Rows, Shown, Words, quoted, scaled
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.inspection import attention, places
from glassgpt.inspection.ablation import Part, effects
from glassgpt.inspection.attribution import gradients, occlusion
from glassgpt.inspection.checks import require_head, require_layer
from glassgpt.inspection.choosing import steps_of
from glassgpt.inspection.contributions import Contribution, by_neuron, contributions
from glassgpt.inspection.depth import along_depth
from glassgpt.inspection.embedding import map_of, neighbours
from glassgpt.inspection.heads import PATTERNS, Head, label_heads
from glassgpt.inspection.lens import logit_lens
from glassgpt.inspection.over_time import chosen_steps, over_time
from glassgpt.inspection.patching import patch
from glassgpt.inspection.seen import losses_of, seen
from glassgpt.inspection.trace import Trace, pieces, trace
from glassgpt.inspection.update import one_update
from glassgpt.model.gpt import GPT
from glassgpt.runs.opening import Run

Found = tuple[tuple[Shown, ...], tuple[str, ...]]
NAMES_OF_PATTERNS = {
    "previous": "the token before",
    "first": "the first token",
    "same": "earlier ones of the same token",
    "induction": "what followed earlier ones",
}
MOST_STEPS = 12
"""Steps of a training that are opened, one after the other, for `steps`."""
MOST_IN_A_LIST = 12


@dataclass(frozen=True)
class Asked:
    """What a question is about."""

    run: Run
    text: str
    token: str | None = None
    """The continuation that is explained; None for the likeliest."""
    layer: int | None = None
    head: int | None = None
    instead: str | None = None
    """Another text of as many tokens, which `patch` compares with."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    @property
    def model(self) -> GPT:
        """The run's model."""
        return self.run.model

    @cached_property
    def traced(self) -> Trace:
        """The trace of the text; made once for all questions."""
        return trace(self.run, self.text)

    @cached_property
    def heads(self) -> list[Head]:
        """What each head is there for."""
        return label_heads(self.model, self.traced.ids)

    @cached_property
    def next_probabilities(self) -> Tensor:
        """What may follow the text, (V,)."""
        return self.traced.arrays["logits"][-1].softmax(-1)

    @cached_property
    def target(self) -> int:
        """The id whose prediction is explained: the first of the named token, or the likeliest."""
        if self.token is None:
            return int(self.next_probabilities.argmax())
        ids = self.run.tokenizer.encode(self.token)
        if not ids:
            raise InspectionError("--token is empty: name a token that may follow the text, such as ' the'.")
        return ids[0]

    def piece(self, id: int) -> str:
        """Return the text of an id, as it is shown."""
        return quoted(pieces(self.run.tokenizer, [id])[0])

    @property
    def columns(self) -> tuple[str, ...]:
        """The pieces of the text, as they are shown."""
        return tuple(map(quoted, self.traced.pieces))


@dataclass(frozen=True)
class View:
    """A question: how it is called, what is shown, which function computes it, and how."""

    name: str
    title: str
    what: str
    code: str
    find: Callable[[Asked], Found]

    def answer(self, asked: Asked) -> Answer:
        """Return what was found. Raises `InspectionError` where the question cannot be asked."""
        shown, said = self.find(asked)
        return Answer(self.name, self.title, self.what, self.code, shown, said)

    def unanswered(self, why: str) -> Answer:
        """Return an answer that contains only the reason why nothing was found."""
        return Answer(self.name, self.title, self.what, self.code, (), (why,))


def percent(share: float) -> str:
    """Return a probability as it is read: 12%, 0.4%, and never 0% for what is only unlikely."""
    if share >= 0.0995 or share == 0:
        return f"{share:.0%}"
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def name_of_weights(name: str) -> str:
    """Return the name of a group of weights as it is read: `block 0` for `blocks.0`."""
    return name.replace("blocks.", "block ").replace("_", " ")


def signed(value: float) -> str:
    """Return a number with its sign."""
    return f"{value:+.2f}"


def numbered(asked: Asked) -> Words:
    """Return the pieces of the text above their numbers."""
    return Words(
        "Each piece is one token. Below is its number in the vocabulary.",
        asked.traced.pieces,
        tuple(map(str, asked.traced.ids)),
        tuple(0.0 for _ in asked.traced.ids),
    )


def _tokens(asked: Asked) -> Found:
    traced = asked.traced
    said = [f"{len(asked.text):,} characters became {_count(len(traced) - traced.before, 'token')}."]
    if traced.before:
        said.append(f"{_count(traced.before, 'token')} before the text: the mark that begins it.")
    return (numbered(asked),), tuple(said)


def _surprise(asked: Asked) -> Found:
    traced = asked.traced
    if len(traced) < 2:
        return (), ("The text has one token, and nothing before it that could predict it.",)
    following = torch.exp(-traced.losses).tolist()
    words = Words(
        "The probability of each token, given those before it. Strong colour: a surprise.",
        traced.pieces,
        ("", *map(percent, following)),
        (0.0, *(1 - share for share in following)),
    )
    losses = traced.losses
    place = int(losses.argmax()) + 1
    mean = losses.mean().item()
    return (words,), (
        f"The loss of this text is {mean:.3f} nats a token: as if {math.exp(mean):,.1f} tokens were equally likely.",
        f"The greatest surprise is {quoted(traced.pieces[place])}, with {percent(following[place - 1])}.",
    )


def _next(asked: Asked) -> Found:
    probabilities_V = asked.next_probabilities
    values, ids = probabilities_V.topk(min(MOST_IN_A_LIST, len(probabilities_V)))
    bars = Bars(
        "What may follow the text.",
        tuple(map(asked.piece, ids.tolist())),
        tuple(map(percent, values.tolist())),
        scaled(values.tolist(), largest=1.0),
    )
    entropy = float(torch.special.entr(probabilities_V).sum())
    said = [f"The model is as undecided as between {math.exp(entropy):,.1f} equally likely tokens."]
    if asked.token is not None:
        rank = int((probabilities_V > probabilities_V[asked.target]).sum()) + 1
        if len(ids := asked.run.tokenizer.encode(asked.token)) > 1:
            said.append(f"{quoted(asked.token)} is {len(ids)} tokens. The first of them is explained.")
        said.append(
            f"{asked.piece(asked.target)} has {percent(float(probabilities_V[asked.target]))}, rank {rank:,}."
        )
    return (bars,), tuple(said)


def _choice(asked: Asked) -> Found:
    logits_V = asked.traced.arrays["logits"][-1]
    steps = steps_of(logits_V, asked.sampling, seen=asked.traced.ids, most=6)
    rows = tuple(
        (
            choice.step,
            f"{choice.left:,}",
            f"{choice.entropy:.2f}",
            percent(choice.removed_share),
            "  ".join(f"{asked.piece(id)} {percent(share)}" for id, share in choice.likeliest),
        )
        for choice in steps
    )
    table = Rows(
        "What each step of sampling leaves. Entropy in nats.",
        ("step", "tokens left", "entropy", "removed", "likeliest"),
        rows,
        texts=("step", "likeliest"),
    )
    return (table,), ()


def _attention(asked: Asked) -> Found:
    traced, config = asked.traced, asked.model.config
    layer, head = _chosen_head(asked)
    require_head(config, layer, head)
    weights_TT = traced.weights(layer)[head]
    grid = Grid(
        f"Head {head} of layer {layer}. Each row is a token, and shows to which tokens it attends.",
        asked.columns,
        asked.columns,
        _rows_of(weights_TT),
    )
    pairs = attention.strongest(traced, layer, head, 6, without_first=True)
    table = Rows(
        "The strongest pairs, without the first token.",
        ("token", "attends to", "weight"),
        tuple((asked.columns[pair.query], asked.columns[pair.key], percent(pair.weight)) for pair in pairs),
        texts=("token", "attends to"),
    )
    last_T = attention.rollout(traced)[-1, -1]
    reached = Words(
        "What reaches the last token through all layers (attention rollout).",
        traced.pieces,
        tuple(map(percent, last_T.tolist())),
        scaled(last_T.tolist()),
    )
    said = () if asked.layer is not None else ("Another head:  --layer 0 --head 1",)
    return (grid, *((table,) if pairs else ()), reached), said


def _chosen_head(asked: Asked) -> tuple[int, int]:
    """Return the head that was asked for, else one that does something recognisable."""
    if asked.layer is not None or asked.head is not None:
        return asked.layer or 0, asked.head or 0
    if len(asked.traced) < 3:
        return 0, 0
    labelled = [head for head in asked.heads if head.label not in (None, "first")]
    best = max(labelled, key=lambda head: head.scores[head.label or ""], default=asked.heads[0])
    return best.layer, best.head


def _heads(asked: Asked) -> Found:
    rows = []
    for head in asked.heads:
        at = ""
        if head.evidence is not None:
            at = f"{asked.columns[head.evidence.query]} at {asked.columns[head.evidence.key]}"
        scores = (percent(head.scores[name]) for name in PATTERNS)
        rows.append(
            (str(head.layer), str(head.head), NAMES_OF_PATTERNS.get(head.label or "", "-"), *scores, at)
        )
    table = Rows(
        "How much of each head's attention goes to one of four places; 40% or more gives it a label.",
        ("layer", "head", "looks at", *PATTERNS, "for example"),
        tuple(rows),
        texts=("looks at", "for example"),
    )
    count = sum(head.label == "induction" for head in asked.heads)
    said = (
        f"{_count(count, 'induction head')}: they continue a text as it went on before."
        if count
        else "No induction head yet: nothing here continues a text as it went on before."
    )
    return (table,), (said,)


def _lens(asked: Asked) -> Found:
    lens = logit_lens(asked.model, asked.traced.ids, most=3)
    rows = []
    for depth, name in enumerate(lens.names):
        shown = zip(lens.likeliest[depth, -1].tolist(), lens.probabilities[depth, -1].tolist(), strict=True)
        listed = "  ".join(f"{asked.piece(id)} {percent(share)}" for id, share in shown)
        rows.append(
            (_depth_of(name), listed, f"{lens.entropy[depth, -1]:.2f}", f"{lens.divergence[depth, -1]:.2f}")
        )
    table = Rows(
        "What would follow the text if the model ended here. Entropy and distance to the final prediction in nats.",
        ("depth", "likeliest", "entropy", "distance"),
        tuple(rows),
        texts=("depth", "likeliest"),
    )
    grid = Grid(
        "The likeliest next token after each token, at each depth; strong colour: certain.",
        tuple(map(_depth_of, lens.names)),
        asked.columns,
        _rows_of(lens.probabilities[:, :, 0]),
        tuple(tuple(map(asked.piece, ids)) for ids in lens.likeliest[:, :, 0].tolist()),
    )
    final = int(lens.likeliest[-1, -1, 0])
    first = len(lens.names) - 1
    while first and int(lens.likeliest[first - 1, -1, 0]) == final:
        first -= 1
    return (table, grid), (
        f"{asked.piece(final)} is the likeliest from this depth on: {_depth_of(lens.names[first])}.",
    )


def _depth_of(point: str) -> str:
    return f"after block {point.split('.')[1]}" if point.startswith("blocks.") else point


def _parts(asked: Asked) -> Found:
    found = contributions(asked.model, asked.traced.ids, target=asked.target)
    largest = sorted(found.parts, key=lambda part: -abs(part.value))[:MOST_IN_A_LIST]
    rest = math.fsum(part.value for part in found.parts) - math.fsum(part.value for part in largest)
    names, values = [_part_name(part) for part in largest], [part.value for part in largest]
    if len(largest) < len(found.parts):
        names.append(f"the other {len(found.parts) - len(largest)}")
        values.append(rest)
    bars = Bars(
        f"What each part adds to the logit of {asked.piece(asked.target)} after the text.",
        tuple(names),
        tuple(map(signed, values)),
        scaled(values),
    )
    layer = asked.layer
    if layer is None:
        mlps = [part for part in found.parts if part.kind == "mlp"]
        layer = max(mlps, key=lambda part: abs(part.value)).layer or 0
    require_layer(asked.model.config, layer)
    neurons = by_neuron(asked.model, asked.traced.ids, layer=layer, target=asked.target, most=6)
    table = Rows(
        f"The neurons of the MLP of layer {layer} that count most.",
        ("neuron", "adds", "activation"),
        tuple(
            (str(neuron), signed(value), f"{active:.2f}")
            for neuron, value, active in zip(
                neurons.neurons, neurons.values, neurons.activations, strict=True
            )
        ),
    )
    return (bars, table), (f"All parts add up to the logit, {found.logit:.2f}.",)


def _part_name(part: Contribution | Part) -> str:
    if part.head is not None:
        return f"head {part.head} of layer {part.layer}"
    kind = "MLP" if part.kind == "mlp" else part.kind
    return kind if part.layer is None else f"{kind} of layer {part.layer}"


def _words(asked: Asked) -> Found:
    traced = asked.traced
    fall_T = occlusion(asked.model, traced.ids, target=asked.target).tolist()
    slopes_T = gradients(asked.model, traced.ids, target=asked.target).tolist()
    words = Words(
        f"By how many nats {asked.piece(asked.target)} becomes less likely when a token is hidden (occlusion).",
        traced.pieces,
        tuple(map(signed, fall_T)),
        scaled(fall_T),
    )
    slopes = Words(
        "The same by gradient times input, which asks about a very small change.",
        traced.pieces,
        tuple(map(signed, slopes_T)),
        scaled(slopes_T),
    )
    place = max(range(len(fall_T)), key=lambda place: fall_T[place])
    return (words, slopes), (f"It depends most on {asked.columns[place]}.",)


def _without(asked: Asked) -> Found:
    found = effects(asked.model, asked.traced.ids)
    largest = sorted(found, key=lambda effect: -abs(effect.change))[: 2 * MOST_IN_A_LIST]
    values = [effect.change for effect in largest]
    bars = Bars(
        "By how many nats a token the loss of this text rises without a part (its output is replaced by zeros).",
        tuple(_part_name(effect.part) for effect in largest),
        tuple(map(signed, values)),
        scaled(values),
    )
    heads = [effect for effect in found if effect.part.kind == "head"]
    needless = sum(effect.change <= 0 for effect in heads)
    return (bars,), (f"Without {needless} of {len(heads)} heads alone, this text is predicted no worse.",)


def _embedding(asked: Asked) -> Found:
    traced = asked.traced
    own = dict.fromkeys(traced.ids[traced.before :])
    rows = []
    for id in list(own)[-MOST_IN_A_LIST:]:
        near = neighbours(asked.model, id, most=6)
        rows.append(
            (asked.piece(id), "  ".join(f"{asked.piece(one.id)} {one.similarity:.2f}" for one in near))
        )
    table = Rows(
        "The tokens whose vectors have the most similar direction (cosine, at most 1).",
        ("token", "nearest"),
        tuple(rows),
        texts=("token", "nearest"),
    )
    said = ()
    if len(own) > 2:
        shares = map_of(asked.model, list(own)).shares
        said = (f"Two directions show {sum(shares):.0%} of how the vectors of these tokens differ.",)
    return (table,), said


def _depth(asked: Asked) -> Found:
    def number(value: float | None, form: str = ".2f") -> str:
        return "-" if value is None else format(value, form)

    rows = tuple(
        (
            _depth_of(one.point),
            number(one.stream),
            number(one.attention),
            number(one.mlp),
            number(one.cosine),
            number(one.dead, ".0%"),
            number(one.saturation, ".0%"),
        )
        for one in along_depth(asked.model, asked.traced.ids)
    )
    table = Rows(
        "Lengths of the vectors of the stream, and of what attention and MLP add to them; how much a block turns them "
        "(cosine); neurons that no token excites; the largest attention weight.",
        ("depth", "stream", "attention", "mlp", "cosine", "dead", "saturated"),
        rows,
        texts=("depth",),
    )
    return (table,), ()


def _positions(asked: Asked) -> Found:
    config = asked.model.config
    if config.positions == "rotary":
        turned = places.rotations(asked.model).wavelengths_E.tolist()
        apart = -(-len(turned) // MOST_IN_A_LIST)
        rows = tuple((str(pair), f"{turned[pair]:,.1f}") for pair in range(0, len(turned), apart))
        table = Rows(
            "Each pair of numbers in a query or key is turned by its place. After this many tokens it is back.",
            ("pair", "tokens"),
            rows,
        )
        return (table,), ("Rotary positions: what counts is how far two tokens are apart.",)
    if config.positions == "none":
        return (), ("This model has no positions: only the mask tells it what came before.",)
    vectors_TC = places.position_vectors(asked.model)[: len(asked.traced)]
    alike_TT = places.similarity(vectors_TC)
    grid = Grid(
        "How similar the vectors of any two places are (cosine).",
        asked.columns,
        asked.columns,
        _rows_of(alike_TT),
    )
    return (grid,), (f"The positions of this model are {config.positions}.",)


def _update(asked: Asked) -> Found:
    update = one_update(asked.model, [asked.traced.ids])
    rows = tuple(
        (
            name_of_weights(block.name),
            f"{block.gradient:.3f}",
            f"{block.change:.4f}",
            percent(block.relative or 0.0),
        )
        for block in update.blocks
    )
    table = Rows(
        "One step of AdamW on this text, on a copy of the model: lengths of the gradient and of the change.",
        ("part", "gradient", "change", "of the weights"),
        rows,
        texts=("part",),
    )
    return (table,), (
        f"The loss of this text falls from {update.loss_before:.3f} to {update.loss_after:.3f} nats a token.",
    )


def _steps(asked: Asked) -> Found:
    if len(chosen_steps(asked.run)) < 2:
        raise InspectionError(
            f"The run {asked.run.directory.name} has the weights of one step only. A training keeps more with "
            "--training.keep-every 50."
        )
    ids, target = asked.traced.ids, asked.target

    def look(model: GPT) -> tuple[float, float, float]:
        logits_TV = seen(model, ids, "final")["logits"].float()
        induction = max(head.scores["induction"] for head in label_heads(model, ids))
        return losses_of(logits_TV, ids).mean().item(), logits_TV[-1].softmax(-1)[target].item(), induction

    found = list(over_time(asked.run, look, most=MOST_STEPS))
    bars = Bars(
        "The loss of this text at each step that was kept, in nats a token.",
        tuple(f"step {step:,}" for step, _ in found),
        tuple(f"{loss:.3f}" for _, (loss, _, _) in found),
        scaled([loss for _, (loss, _, _) in found]),
    )
    table = Rows(
        "What became of it.",
        ("step", "loss", f"probability of {asked.piece(target)}", "best induction head"),
        tuple(
            (f"{step:,}", f"{loss:.3f}", percent(probability), percent(score))
            for step, (loss, probability, score) in found
        ),
    )
    return (bars, table), ()


def _patch(asked: Asked) -> Found:
    if asked.instead is None:
        raise InspectionError(
            "patch compares the text with another one of as many tokens: name it with --instead. For example the text "
            '"Tom has a cat. Tom" with --instead "Ann has a cat. Ann".'
        )
    ids, others = asked.traced.ids, asked.run.prompt_ids(asked.instead)
    if len(ids) != len(others):
        raise InspectionError(
            f"The text has {len(ids)} tokens and the one of --instead {len(others)}. Both need the same number: what "
            "is computed at a place of one is put at the same place of the other."
        )
    unwanted = int(seen(asked.model, others, "final")["logits"][-1].argmax())
    if unwanted == asked.target:
        raise InspectionError(
            f"After both texts {asked.piece(unwanted)} is predicted, so nothing decides between them. Name what should "
            "follow the first one with --token, or choose texts that go on differently."
        )
    found = patch(asked.model, ids, others, wanted=asked.target, unwanted=unwanted)
    restored = found.restored.tolist()
    grid = Grid(
        f"How much of the preference for {asked.piece(asked.target)} over {asked.piece(unwanted)} returns when the "
        "stream of the first text is put into the second, at one place after one block.",
        tuple(f"after block {layer}" for layer in range(len(restored))),
        asked.columns,
        _rows_of(found.restored),
        tuple(tuple(f"{value:.0%}".replace("-0%", "0%") for value in row) for row in restored),
    )
    return (grid,), (
        f"The preference is {found.clean:+.2f} after the first text and {found.corrupted:+.2f} after the second.",
    )


def _rows_of(values: Tensor) -> tuple[tuple[float, ...], ...]:
    """Return numbers whose largest size is 1, up to rounding, as the shares of a grid."""
    return tuple(scaled(row, largest=1.0) for row in values.tolist())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_HERE = "glassgpt.inspection"
VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View(
            "tokens",
            "Tokens",
            "The model reads numbers. The tokenizer cuts the text into pieces that it knows.",
            f"{_HERE}.trace.trace",
            _tokens,
        ),
        View(
            "surprise",
            "Surprise",
            "Each token is predicted from those before it. Training makes these probabilities larger.",
            f"{_HERE}.trace.Trace.losses",
            _surprise,
        ),
        View(
            "next",
            "What comes next",
            "The model gives every token of its vocabulary a probability to be the next.",
            f"{_HERE}.trace.Trace.probabilities",
            _next,
        ),
        View(
            "choice",
            "The choice",
            "One token is drawn from these probabilities. Settings change them first.",
            f"{_HERE}.choosing.steps_of",
            _choice,
        ),
        View(
            "attention",
            "Attention",
            "Each head decides for each token which earlier tokens it takes something from.",
            f"{_HERE}.attention.strongest",
            _attention,
        ),
        View(
            "heads",
            "Heads",
            "Some heads always look at the same kind of place.",
            f"{_HERE}.heads.label_heads",
            _heads,
        ),
        View(
            "lens",
            "Depth by depth",
            "The prediction grows from block to block. The last step of the model can be applied after each of them "
            "(logit lens).",
            f"{_HERE}.lens.logit_lens",
            _lens,
        ),
        View(
            "parts",
            "Parts of the prediction",
            "A logit is a sum of what the token itself, every head and every MLP add to it (direct logit attribution).",
            f"{_HERE}.contributions.contributions",
            _parts,
        ),
        View(
            "words",
            "Words that matter",
            "Which tokens of the text does the prediction depend on?",
            f"{_HERE}.attribution.occlusion",
            _words,
        ),
        View(
            "without",
            "Without a part",
            "A head, an MLP or a whole block is switched off, and the text is read again (ablation).",
            f"{_HERE}.ablation.effects",
            _without,
        ),
        View(
            "embedding",
            "Embedding",
            "Each token is a vector. Tokens that are used alike become alike.",
            f"{_HERE}.embedding.neighbours",
            _embedding,
        ),
        View(
            "depth",
            "Norms along the depth",
            "Does the stream grow evenly, and does every block do its part?",
            f"{_HERE}.depth.along_depth",
            _depth,
        ),
        View(
            "positions",
            "Positions",
            "How does the model know what stands where?",
            f"{_HERE}.places",
            _positions,
        ),
        View(
            "update",
            "One update",
            "Seen: a forward pass, a backward pass and a step of the optimizer.",
            f"{_HERE}.update.one_update",
            _update,
        ),
        View(
            "steps",
            "Over the training",
            "The same text, read with the weights of earlier steps.",
            f"{_HERE}.over_time.over_time",
            _steps,
        ),
        View(
            "patch",
            "Two texts",
            "Where is it decided that two texts go on differently? (activation patching)",
            f"{_HERE}.patching.patch",
            _patch,
        ),
    )
}
USUAL = ("tokens", "surprise", "next", "heads", "lens", "parts", "words")
"""The questions that are answered where none is named: each takes a moment."""


def questions(names: Sequence[str]) -> tuple[str, ...]:
    """Return the questions that are meant: the usual ones without a name, every one for `all`.

    Raises `InspectionError` for a name that none has.
    """
    for name in names:
        if name not in (*VIEWS, ALL):
            raise InspectionError(f"There is no question {name!r}. These can be asked: {', '.join(VIEWS)}.")
    if ALL in names:
        return tuple(VIEWS)
    return tuple(names) or USUAL


def answers(asked: Asked, names: Sequence[str]) -> list[Answer]:
    """Return the answers to some questions.

    Where there are several, one that cannot be answered for this text or run says so. A single one raises its
    `InspectionError`, and so does a text that the model cannot read.
    """
    asked.traced  # noqa: B018 (an error that all questions would have)
    if len(names) == 1:
        return [VIEWS[names[0]].answer(asked)]
    found = []
    for view in map(VIEWS.__getitem__, names):
        try:
            found.append(view.answer(asked))
        except GlassGPTError as error:
            found.append(view.unanswered(str(error)))
    return found

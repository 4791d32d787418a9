"""Classification: a head on the last token predicts the label of a text (Radford et al., 2018, section 3.2).

Attention is causal, so only the last token attends to the whole text. A setting decides what stays frozen: nothing,
every block but the last, or all but the head. Or LoRA corrections are trained beside the head.

Legend: B texts, T tokens, C width, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassgpt import files
from glassgpt.commands import command
from glassgpt.errors import CheckpointError, CorpusError, RunError
from glassgpt.finetuning.config import ClassifyConfig
from glassgpt.finetuning.labelled import Labelled, label_notes, named, read_labelled
from glassgpt.finetuning.packing import pad
from glassgpt.finetuning.rows import RowBatches, split_rows
from glassgpt.finetuning.scores import Scores, findings, scores_of
from glassgpt.finetuning.task import HEAD, Measured, Memory, Start, Task, in_batches, split_facts
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.runs.checkpoints import read_tensors
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import MOST_LABELS
from glassgpt.runs.opening import Run
from glassgpt.runs.reading import repeating

LABELS = "labels.json"
MEASURED_AT_ONCE = 32  # texts


class Classifier(nn.Module):
    """A language model whose last token predicts a label instead of the next token."""

    def __init__(self, gpt: GPT, labels: int) -> None:
        super().__init__()
        self.gpt = gpt
        weight = gpt.token_embedding.weight
        self.head = nn.Linear(gpt.config.n_embd, labels, device=weight.device, dtype=weight.dtype)

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks of the language model."""
        return self.gpt.blocks

    @property
    def config(self) -> ModelConfig:
        """The shape of the language model."""
        return self.gpt.config

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the logits of each label, (B, L), for texts of different lengths, padded at the right."""
        hidden_BTC = self.gpt.hidden(ids_BT[:, : int(lengths_B.max())])
        last_BC = hidden_BTC[torch.arange(len(ids_BT), device=ids_BT.device), lengths_B - 1]
        return self.head(last_BC)


def build(start: Start, config: ClassifyConfig) -> Task:
    """Return the task of classifying `start.data` by label."""
    texts = _texts(start, config)
    learn, hold = split_rows(
        [item.text.strip() for item in texts],
        config.validation,
        start.seed,
        by=config.split_by,
        say=start.say,
    )
    labels = sorted({item.label for item in texts})
    ids = text_ids(start.run, [item.text for item in texts], start.context_length, start.say)
    train, held = (
        encode([ids[index] for index in rows], [texts[index].label for index in rows], labels)
        for rows in (learn, hold)
    )
    _check_labels(labels, train[2], held[2], [texts[index] for index in hold])
    model = Classifier(start.model, len(labels)).to(start.device).train()
    freeze(model, config)
    start.say(f"{len(learn):,} texts to learn from, {len(hold):,} held out; labels: {named(labels)}.")
    for note in label_notes(texts, learn, hold):
        start.say(note)
    pictured = len(labels) <= MOST_LABELS
    if not pictured:
        start.say(f"With more than {MOST_LABELS} labels no confusion matrix is drawn.")
    return Task(
        model=model,
        batches=RowBatches(train, start.batch_size, start.seed, start.world),
        loss=lambda classifier, ids, lengths, targets: F.cross_entropy(
            classifier(ids, lengths).float(), targets
        ),
        # The loss takes next to nothing: the labels' logits are few.
        memory=Memory(MEASURED_AT_ONCE, loss=0, all_blocks=config.freeze == "none"),
        evaluate=lambda: measure(model, held, labels, start.device),
        data=split_facts(train=(len(learn), int(train[1].sum())), validation=(len(hold), int(held[1].sum()))),
        facts={"labels": labels},
        extras={LABELS: labels},
        tensors=lambda: dict(model.head.state_dict()),
        findings=lambda: findings(scores(model, held, labels, start.device)) if pictured else {},
    )


def measure_records(start: Start, config: ClassifyConfig) -> tuple[int, Measured]:
    """Measure a finished classifier on all texts of `start.data`; return their number, too.

    Raises `CorpusError` for a label that it has not learned.
    """
    classifier = open_classifier(start.run)
    texts = _texts(start, config, known=classifier.labels)
    ids = text_ids(start.run, [item.text for item in texts], start.context_length, start.say)
    encoded = encode(ids, [item.label for item in texts], classifier.labels)
    return len(texts), measure(classifier.model, encoded, classifier.labels, start.device)


def _texts(start: Start, config: ClassifyConfig, known: Sequence[str] | None = None) -> list[Labelled]:
    return read_labelled(
        [Path(path) for path in start.data],
        text_field=config.text_field,
        label_field=config.label_field,
        say=start.say,
        labels_as_written=config.labels_as_written,
        known=known,
    )


def freeze(model: Classifier, config: ClassifyConfig) -> None:
    """Require gradients only for what is trained. (LoRA has frozen the rest already.)"""
    if config.freeze == "none":
        return
    model.gpt.requires_grad_(False)
    if config.freeze == "all-but-last":
        model.gpt.blocks[-1].requires_grad_(True)
        model.gpt.final_norm.requires_grad_(True)


def encode(
    ids: Sequence[np.ndarray], of: Sequence[str], labels: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return padded ids (N, T), lengths (N,) and label numbers (N,) of texts, each with its label in `of`."""
    numbers = {label: number for number, label in enumerate(labels)}
    lengths = torch.tensor([len(row) for row in ids])
    return (
        pad(ids, 0),
        lengths,
        torch.tensor([numbers[label] for label in of]),
    )


def text_ids(
    run: Run, texts: Sequence[str], context_length: int, say: Callable[[str], None]
) -> list[np.ndarray]:
    """Return the ids of texts, encoded as in the base's pretraining and cut to the context.

    `say` receives a line that counts those that were cut.
    """
    whole = [run.prompt_ids(text.strip()) for text in texts]
    if longer := longer_than(whole, context_length):
        say(longer)
    return [np.array(ids[:context_length]) for ids in whole]


def longer_than(texts: Sequence[Sequence[int]], context_length: int) -> str | None:
    """Return a sentence that counts the texts longer than the context, or None when each fits."""
    longer = sum(len(ids) > context_length for ids in texts)
    if not longer:
        return None
    return (
        f"{longer} of {len(texts)} text{'s' * (len(texts) > 1)} {'is' if longer == 1 else 'are'} longer than the "
        f"context of {context_length} tokens: only the beginning is read."
    )


@torch.inference_mode()
def logits_of(model: Classifier, texts: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return the logits (N, L) of encoded texts."""
    with evaluating(model.gpt):
        return torch.cat(
            [model(*batch).float().cpu() for batch in in_batches(texts[:2], MEASURED_AT_ONCE, device)]
        )


def scores(
    model: Classifier, texts: tuple[Tensor, Tensor, Tensor], labels: Sequence[str], device: torch.device
) -> Scores:
    """Return how the predicted labels of some texts compare with the right ones."""
    return scores_of(texts[2].numpy(), logits_of(model, texts, device).argmax(-1).numpy(), labels)


def measure(
    model: Classifier, texts: tuple[Tensor, Tensor, Tensor], labels: Sequence[str], device: torch.device
) -> Measured:
    """Return the loss, accuracy and macro-averaged F1 on texts."""
    logits_NL = logits_of(model, texts, device)
    found = scores_of(texts[2].numpy(), logits_NL.argmax(-1).numpy(), labels)
    loss = F.cross_entropy(logits_NL, texts[2]).item()
    return Measured(loss, metrics={"accuracy": found.accuracy, "F1": found.macro_f1})


@dataclass(frozen=True)
class OpenedClassifier:
    """A run that classifies, ready for texts."""

    model: Classifier
    run: Run
    labels: list[str]

    def probabilities(
        self, texts: Sequence[str], say: Callable[[str], None] = lambda _: None
    ) -> list[dict[str, float]]:
        """Return the probability of each label, for each text. `say` receives a line if texts are too long."""
        rows = text_ids(self.run, texts, self.model.config.context_length, say)
        device = self.model.head.weight.device
        lengths = torch.tensor([len(row) for row in rows])
        shares = logits_of(self.model, (pad(rows, 0), lengths), device).softmax(-1).tolist()
        return [dict(zip(self.labels, row, strict=True)) for row in shares]


def open_classifier(run: Run) -> OpenedClassifier:
    """Return the classifier of an opened run. Raises `RunError` when the run is not a classifier."""
    labels, head = run.directory.path / LABELS, run.directory.path / HEAD
    if not labels.is_file() or not head.is_file():
        raise RunError(
            f"{run.directory.name} has not learned to classify. Teach it with:  "
            + command("finetune", "classify", run.directory.handle, "DATA")
        )
    names = _read_labels(labels)
    if run.lineage.labels not in (None, names):
        raise _damaged(labels, "its labels are not those that the run has learned")
    noted = run.lineage.weights.head if run.lineage.weights else None
    if noted and files.hash_file(head) != noted:
        raise _damaged(head, "it was altered since it was written")
    model = Classifier(run.model, len(names))
    try:
        model.head.load_state_dict(read_tensors(head))
    except (CheckpointError, RuntimeError) as error:
        raise _damaged(head, f"it does not hold weights for {len(names)} labels") from error
    return OpenedClassifier(model.eval(), run, names)


def _read_labels(path: Path) -> list[str]:
    """Return the names of the labels: at least two, all different."""
    try:
        names = msgspec.convert(files.read_json(path), list[str])
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if len(names) < 2 or len(set(names)) < len(names):
        raise _damaged(path, "it does not name two or more different labels")
    return names


def _damaged(path: Path, why: str) -> RunError:
    again = repeating(RunDirectory(path.parent))
    way_out = f", or make the classifier again with:  {again}" if again else "."
    return RunError(f"{path} is damaged: {why.rstrip('.')}. Put the original back{way_out}")


def _check_labels(labels: Sequence[str], train: Tensor, held: Tensor, texts: Sequence[Labelled]) -> None:
    unseen = set(held.tolist()) - set(train.tolist())
    if unseen:
        label = labels[min(unseen)]
        item: Any = next(item for item in texts if item.label == label)
        others = f" So do {len(unseen) - 1:,} other labels." if len(unseen) > 1 else ""
        raise CorpusError(
            f"The label {label!r} ({item.source}) occurs only in the held-out texts, so it cannot be learned. Add "
            f"texts with it, or remove it.{others}"
        )

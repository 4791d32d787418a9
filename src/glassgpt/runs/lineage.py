"""`lineage.json`: data -> tokenizer -> weights, each with the hash that identifies it."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from glassgpt import files
from glassgpt.dataset.shards import TokenShards
from glassgpt.device import machine_facts
from glassgpt.runs.checkpoints import read_state
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import VERSION, Lineage, WeightFacts
from glassgpt.runs.reading import read_lineage
from glassgpt.tokenizers.fast import FastTokenizer


def first_lineage(
    shards: TokenShards,
    tokenizer: FastTokenizer,
    *,
    sources: list[dict[str, str]],
    parameters: int,
    floor: dict[str, float] | None,
    compressed: float | None = None,
) -> Lineage:
    """Return the lineage at the start of training: the data, the tokenizer, the machine, the command."""
    data = {
        "plan": shards.manifest["plan"],
        "sources": sources,
        **shard_facts(shards),
        "shards": shards.hashes,
        "floor": floor,
        "compressed": compressed,
    }
    return new_lineage(tokenizer, kind="pretraining", parameters=parameters, data=data)


def derived_lineage(
    base: RunDirectory,
    base_lineage: Lineage,
    tokenizer: FastTokenizer,
    *,
    kind: str,
    parameters: int,
    data: dict[str, Any],
    **further: Any,
) -> Lineage:
    """Return the lineage at the start of a fine-tuning: as `first_lineage`, with the whole lineage of its base.

    `kind` names the kind of fine-tuning; `data` has sources, documents and splits; `further` holds facts of that kind.
    """
    before = {
        "name": base.name,
        "path": str(base.path.resolve()),
        "weights": base_lineage.weights_hash,
        "lineage": base_lineage.to_json(),
    }
    return new_lineage(tokenizer, kind=kind, parameters=parameters, data=data, base=before, **further)


def new_lineage(tokenizer: FastTokenizer, *, kind: str, parameters: int, **facts: Any) -> Lineage:
    """Return a lineage that begins now: with the time, the command, the machine, the vocabulary, and further facts."""
    values = {
        "version": VERSION,
        "kind": kind,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": ["glassgpt", *sys.argv[1:]],
        "machine": machine_facts(),
        "tokenizer": {
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "fingerprint": tokenizer.fingerprint,
        },
        "model": {"parameters": parameters},
        **facts,
    }
    return msgspec.convert(values, Lineage)


def write_lineage(run: RunDirectory, lineage: Lineage) -> None:
    """Write `lineage.json`."""
    files.write_json(run.lineage, lineage.to_json())


def note_weights(run: RunDirectory, facts: WeightFacts | None) -> None:
    """Record which weights a run has; None while they are being written. Keys that are unknown here stay."""
    read_lineage(run)  # raises where it is damaged
    weights = None if facts is None else {"loss": None, **msgspec.to_builtins(facts)}
    files.write_json(run.lineage, {**files.read_json(run.lineage), "weights": weights})


def shard_facts(shards: TokenShards) -> dict[str, Any]:
    """Return the size of prepared shards: all documents, and each split's documents, bytes, tokens and parts.

    Shards of older versions have no parts.
    """
    splits = shards.manifest["splits"]
    return {
        "documents": sum(facts["documents"] for facts in splits.values()),
        "splits": {
            name: {key: facts[key] for key in ("documents", "bytes", "tokens", "parts") if key in facts}
            for name, facts in splits.items()
        },
    }


def publish_weights(run: RunDirectory, checkpoint: Path) -> None:
    """Make the weights of a checkpoint the run's `model.safetensors`, and record their step, loss and hash.

    The record is emptied first: a crash in between leaves weights without a hash, never with a wrong one.
    """
    progress = read_state(checkpoint).progress
    step, best = progress.step, progress.step == progress.best_step
    note_weights(run, None)
    with (
        files.atomic_write(run.weights, "wb") as target,
        open(checkpoint / "model.safetensors", "rb") as source,
    ):
        shutil.copyfileobj(source, target)
    loss = progress.best_loss if best else None
    note_weights(run, WeightFacts(step=step, loss=loss, sha256=files.hash_file(run.weights)))

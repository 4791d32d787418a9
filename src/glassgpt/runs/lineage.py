"""`lineage.json`: data -> tokenizer -> weights, each with the hash that identifies it."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from glassgpt import files
from glassgpt.dataset.shards import TokenShards
from glassgpt.device import machine_facts
from glassgpt.runs.checkpoints import read_state
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.reading import read_lineage
from glassgpt.tokenizers.fast import FastTokenizer


def first_lineage(
    shards: TokenShards,
    tokenizer: FastTokenizer,
    *,
    sources: list[dict[str, str]],
    parameters: int,
    floor: dict[str, float] | None,
) -> dict[str, Any]:
    """Return the lineage at the start of training: the data, the tokenizer, the machine, the command."""
    return {
        **origin(tokenizer),
        "data": {
            "plan": shards.manifest["plan"],
            "sources": sources,
            **shard_facts(shards),
            "shards": shards.hashes,
            "floor": floor,
        },
        "base": None,  # the run these weights were fine-tuned from
        "model": {"parameters": parameters},
        "weights": None,
    }


def derived_lineage(
    base: RunDirectory,
    base_lineage: dict[str, Any],
    tokenizer: FastTokenizer,
    *,
    kind: str,
    parameters: int,
    data: dict[str, Any],
    **further: Any,
) -> dict[str, Any]:
    """Return the lineage at the start of a fine-tuning: as `first_lineage`, with the whole lineage of its base.

    `kind` names the kind of fine-tuning; `data` has sources, documents and splits; `further` holds facts of that kind.
    """
    return {
        **origin(tokenizer),
        "kind": kind,
        "data": {"plan": None, "floor": None, **data},
        "base": {
            "name": base.name,
            "path": str(base.path.resolve()),
            "weights": weights_hash(base_lineage),
            "lineage": base_lineage,
        },
        "model": {"parameters": parameters},
        "weights": None,
        **further,
    }


def note_weights(run: RunDirectory, facts: dict[str, Any] | None) -> None:
    """Record which weights a run has: step, loss and hash; None while they are being written."""
    files.write_json(run.lineage, {**read_lineage(run), "weights": facts})


def origin(tokenizer: FastTokenizer) -> dict[str, Any]:
    """Return the beginning of every lineage: the time, the command, the machine, and the vocabulary."""
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": ["glassgpt", *sys.argv[1:]],
        "machine": machine_facts(),
        "tokenizer": {
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "fingerprint": tokenizer.fingerprint,
        },
    }


def shard_facts(shards: TokenShards) -> dict[str, Any]:
    """Return the size of prepared shards: all documents, and each split's documents, bytes and tokens."""
    splits = shards.manifest["splits"]
    return {
        "documents": sum(facts["documents"] for facts in splits.values()),
        "splits": {
            name: {key: facts[key] for key in ("documents", "bytes", "tokens")}
            for name, facts in splits.items()
        },
    }


def weights_hash(lineage: dict[str, Any]) -> str | None:
    """Return the hash that identifies a finished run's weights or adapter."""
    return (lineage.get("weights") or {}).get("sha256")


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
    note_weights(run, {"step": step, "loss": loss, "sha256": files.hash_file(run.weights)})

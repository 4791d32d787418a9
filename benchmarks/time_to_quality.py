"""Seconds from raw text to a given quality on unseen text: GlassGPT against the recipes people copy.

Each peer runs its own recipe to the end. Then GlassGPT is given only a time, and must reach what the peer reached;
the time is increased until it does. Both sides start from the raw file, so learning a vocabulary and encoding count.
Both are measured afterwards, off the clock, in bits per byte on all of the last tenth.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import fresh
from benchmarks.report import Figure
from benchmarks.texts import SEPARATOR, shared


@dataclass(frozen=True)
class Case:
    """A text, the peer's recipe for it, and the times in seconds to try with GlassGPT."""

    text: str
    peer: str
    peer_steps: int
    tries: tuple[float, ...]
    mark: float
    goal: float | None = None
    """Bits per byte to reach; None: whatever the peer reaches."""


CASES = (
    Case("tinyshakespeare.txt", "nanogpt", 2000, (4.0, 5.0, 6.0, 8.0, 11.0, 15.0, 22.0), 8, goal=2.71),
    Case("tinystories-sample.txt", "notebook", 300, (5.0, 7.0, 10.0, 15.0, 22.0, 33.0, 50.0, 70.0), 10),
)
QUICK = (
    Case("tinyshakespeare.txt", "nanogpt", 20, (3.0,), 8),
    Case("tinystories-sample.txt", "notebook", 1, (3.0,), 10),
)
HELD_OUT = 0.1


def run(quick: bool) -> list[Figure]:
    """Return one figure per text."""
    return [_compare(case, quick) for case in (QUICK if quick else CASES)]


def _compare(case: Case, quick: bool) -> Figure:
    path = shared(case.text)
    peer = fresh(peer_run, case.peer, str(path), case.peer_steps).value
    goal = case.goal or peer["bits_per_byte"]
    for seconds in case.tries:
        ours = fresh(our_run, str(path), seconds).value
        if ours["bits_per_byte"] <= goal:
            break
    reached = ours["bits_per_byte"] <= goal
    ratio = peer["seconds"] / ours["seconds"] if reached else None
    return Figure(
        f"{case.text}: seconds to {goal:.3f} bits per byte, against the {case.peer} recipe's {case.peer_steps} steps",
        f"{ours['seconds']:.1f} s ({ours['bits_per_byte']:.3f})",
        f"{peer['seconds']:.1f} s ({peer['bits_per_byte']:.3f})",
        ratio,
        f"at least {case.mark:g}x",
        None if quick else bool(ratio and ratio >= case.mark),
    )


def halves(path: str) -> tuple[str, str]:
    """Return the text to learn from and the last tenth, which is never trained on."""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    cut = int(len(text) * (1 - HELD_OUT))
    return text[:cut], text[cut:]


def peer_run(name: str, path: str, steps: int) -> dict[str, float]:
    """Train a peer by its recipe; return its seconds and its bits per byte on the last tenth."""
    from benchmarks.peers import nanogpt, notebook
    from benchmarks.peers.quality import bits_per_byte

    peer: Any = {"nanogpt": nanogpt, "notebook": notebook}[name]
    training, held_out = halves(path)
    seconds, model, encode = peer.train(training, steps)
    return {
        "seconds": seconds,
        "bits_per_byte": bits_per_byte(model, encode(held_out), len(held_out.encode()), peer.CONTEXT),
    }


def our_run(path: str, seconds: float) -> dict[str, float]:
    """Plan and train for a number of seconds; return the seconds taken and the bits per byte on the last tenth."""
    training, held_out = halves(path)
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"GLASSGPT_CACHE": f"{folder}/cache", "GLASSGPT_RUNS": f"{folder}/runs"}
        os.chdir(folder)
        try:
            # GlassGPT cuts one long text exactly at its last tenth. From many short documents it would hold out
            # others than the last, so it receives only the earlier ones, and holds out a few of them for its curve.
            many = SEPARATOR in training
            Path("text.txt").write_text(
                training if many else training + held_out, encoding="utf-8", newline=""
            )
            Path("held-out.txt").write_text(held_out, encoding="utf-8", newline="")
            return _planned_run(seconds, validation=0.02 if many else HELD_OUT)
        finally:
            os.chdir(before)


def _planned_run(seconds: float, validation: float) -> dict[str, float]:
    import sys
    from dataclasses import replace

    from glassgpt.corpus.splits import SplitConfig
    from glassgpt.planning.plan import make_plan
    from glassgpt.pretraining.data import prepare_whole
    from glassgpt.pretraining.run import measure_split, start_run
    from glassgpt.runs.config import CorpusConfig, PromptsConfig, RunConfig
    from glassgpt.runs.opening import open_run
    from glassgpt.training.events import Event, StepsFinished

    ends: list[float] = []

    def listener(event: Event) -> None:
        if isinstance(event, StepsFinished):
            ends.append(time.perf_counter())

    began = time.perf_counter()
    config = RunConfig(
        corpus=CorpusConfig(sources=("text.txt",)),
        split=SplitConfig(validation=validation),
        samples=PromptsConfig(prompts=()),
    )
    plan = make_plan(config, seconds)
    # Evaluations during training must not choose the weights: they may use the text of the final test.
    training = replace(plan.config.training, final_weights="last", patience=0)
    outcome = start_run(replace(plan.config, training=training), name="run", listeners=[listener])
    taken = ends[-1] - began  # without the last evaluation and the report, as with the peer
    run = open_run("run")
    held_out = replace(run.config, corpus=CorpusConfig(sources=("held-out.txt",)))
    split = prepare_whole(held_out, outcome.directory.tokenizer)
    quality = measure_split(run.model, run.tokenizer, run.config, split, max_tokens=sys.maxsize)
    return {"seconds": taken, "bits_per_byte": quality.bits_per_byte}

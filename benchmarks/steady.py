"""Whether a machine is used well and the same way each time: equal choices, speed beside a busy core, valid tales.

The first figure has no peer; that of the others is the best number of threads, fixed by hand.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.measure import busy_core, fresh
from benchmarks.report import Figure

DEMO_SECONDS = 118.0
TOKENS = 120


def run(quick: bool) -> list[Figure]:
    """Return how often plans agree, speeds beside a busy core, and the tales of `make demo`."""
    calls, seconds, demos = (2, 2.0, 1) if quick else (10, 20.0, 5)
    return [
        _agreement(calls, kept=False, quick=quick),
        _agreement(calls, kept=True, quick=quick),
        _training(seconds, quick),
        *(_decoding(weights, quick) for weights in ("float32", "int8")),
        _tales(demos, quick),
    ]


def _agreement(calls: int, *, kept: bool, quick: bool) -> Figure:
    """Plan the demo in fresh processes, each with an empty cache, or all with the same cache."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for call in range(calls):
            cache = Path(folder) / ("cache" if kept else f"cache-{call}")
            found[fresh(_plan, str(cache)).value] += 1
    (choice, count), *others = found.most_common()
    how = "one cache" if kept else "an empty cache each"
    return Figure(
        f"`plan` of the demo in {calls} processes, {how}: equal threads, precision and shape",
        f"{count} of {calls} ({choice}{'; else ' + ', '.join(name for name, _ in others) if others else ''})",
        ratio=count / calls,
        mark="10 of 10",
        reached=None if quick else count == calls,
    )


def _plan(cache: str) -> str:
    from glassgpt.planning.plan import make_plan
    from glassgpt.runs.config import RunConfig

    os.environ["GLASSGPT_CACHE"] = cache
    plan = make_plan(RunConfig(), DEMO_SECONDS)
    precision = str(plan.machine.precision).removeprefix("torch.")
    return f"{plan.machine.threads} threads, {precision}, {plan.config.model.n_layer} x {plan.config.model.n_embd}"


def _training(seconds: float, quick: bool) -> Figure:
    """Train the demo's model beside a busy core:

    with threads chosen automatically, and with each fixed number of threads.
    """
    found: dict[int, list[float]] = {0: [], 1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder, busy_core():
        for _ in range(1 if quick else 3):
            for threads, speeds in found.items():
                speeds.append(fresh(_train, folder, threads, seconds).value)
    speeds = {threads: statistics.median(values) for threads, values in found.items()}
    best = max(speeds[1], speeds[2])
    return Figure(
        "training the demo's model beside a busy core; the best number of threads, fixed",
        f"{speeds[0]:,.0f} tokens/s",
        f"{best:,.0f} tokens/s (1 thread {speeds[1]:,.0f}, 2 threads {speeds[2]:,.0f})",
        speeds[0] / best,
        "at least 0.7",
        None if quick else speeds[0] >= 0.7 * best,
    )


def _train(folder: str, threads: int, seconds: float) -> float:
    """Return the tokens per second of a paced run, including evaluations and trials of threads."""
    from glassgpt.model.config import ModelConfig
    from glassgpt.pretraining.run import start_run
    from glassgpt.runs.config import PromptsConfig, RunConfig
    from glassgpt.tokenizers.config import TokenizerConfig
    from glassgpt.training.config import TrainingConfig
    from glassgpt.training.events import Event, StepsFinished

    os.environ |= {"GLASSGPT_CACHE": f"{folder}/cache", "GLASSGPT_RUNS": f"{folder}/runs"}
    told: list[tuple[float, int]] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepsFinished):
            told.append((event.seconds, event.tokens))

    config = RunConfig(
        tokenizer=TokenizerConfig(vocab_size=1024),
        model=ModelConfig(
            context_length=128, n_layer=2, n_head=2, n_embd=128, tied_head=False, embedding_std=0.3
        ),
        training=TrainingConfig(
            optimizer="muon",
            batch_size=16,
            steps=200,
            seconds=seconds,
            evaluate_every=10_000,
            evaluate_tokens=2048,
            sample_every=0,
            log_every=5,
            threads=threads,
            precision="float32",
        ),
        samples=PromptsConfig(max_tokens=1),
    )
    start_run(config, listeners=[listen])
    (first_seconds, first_tokens), (last_seconds, last_tokens) = told[0], told[-1]
    return (last_tokens - first_tokens) / (last_seconds - first_seconds)


def _decoding(weights: str, quick: bool) -> Figure:
    """Measure generation with 124M parameters beside a busy core."""
    with busy_core():
        speeds = fresh(_decode, weights, 1 if quick else 3, 20 if quick else TOKENS).value
    best = max(speeds["1"], speeds["2"])
    return Figure(
        f"writing with 124M parameters in {weights} beside a busy core; the best number of threads, fixed",
        f"{speeds['open']:.1f} tokens/s",
        f"{best:.1f} tokens/s (1 thread {speeds['1']:.1f}, 2 threads {speeds['2']:.1f})",
        speeds["open"] / best,
        "at least 0.7",
        None if quick else speeds["open"] >= 0.7 * best,
    )


def _decode(weights: str, rounds: int, tokens: int) -> dict[str, float]:
    from glassgpt.generation.requests import Request
    from glassgpt.generation.sampling import SamplingConfig
    from glassgpt.generation.scheduler import Scheduler
    from glassgpt.model.gpt import GPT
    from glassgpt.model.int8 import quantize
    from glassgpt.model.presets import get_preset

    torch.manual_seed(0)
    model = GPT(replace(get_preset("gpt2-small"), context_length=256)).eval()
    model = quantize(model) if weights == "int8" else model
    found: dict[str, list[float]] = {"open": [], "1": [], "2": []}
    for _ in range(rounds):
        for name, speeds in found.items():
            torch.set_num_threads(2 if name == "open" else int(name))
            writer = Scheduler(model, engine="steady", adapt_threads=name == "open")
            writer.add(Request([1, 2, 3], SamplingConfig(temperature=0), max_tokens=tokens))
            began = time.perf_counter()
            while writer.busy:
                writer.step()
            speeds.append(tokens / (time.perf_counter() - began))
    return {name: statistics.median(speeds) for name, speeds in found.items()}


def _tales(demos: int, quick: bool) -> Figure:
    """Run `make demo`'s command and count the valid tales of each."""
    valid, speeds = [], []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "GLASSGPT_CACHE": f"{folder}/cache", "GLASSGPT_RUNS": f"{folder}/runs"}
        for _ in range(demos):
            command = [sys.executable, "-m", "glassgpt", "train", "--minutes", "0.2" if quick else "2"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            words = " ".join(done.stdout.split())
            valid.append(int(re.search(r"stories it wrote, (\d+) are valid", words).group(1)))  # type: ignore[union-attr]
        for metrics in Path(folder, "runs").glob("*/metrics.jsonl"):
            found = re.findall(r'"tokens_per_second": ([\d.]+)', metrics.read_text())
            speeds.append(statistics.median(map(float, found)))
    middle = statistics.median(valid)
    return Figure(
        f"`make demo`, {demos} times: valid tales of 100 ({', '.join(map(str, valid))})",
        f"{middle:g}",
        ratio=middle / 70,
        mark=f"median at least 70 with 20,000 tokens/s (here {statistics.median(speeds):,.0f})",
        reached=None if quick else middle >= 70,
    )

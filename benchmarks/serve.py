"""Serving: 64 clients at once against one, the first token beside two other servers, and memory over 10,000 requests.

The peers serve the same weights: `transformers serve`, and FastAPI around `generate` with a lock, which is the server
that people write first. All are greedy and write as many tokens as are asked for. The clients run in another process
on the same cores, and the time that they take is shown as well. All servers run during the whole measurement, and
their loads alternate.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.generate import SMALL
from benchmarks.load import Load, load
from benchmarks.measure import fresh, resident_bytes
from benchmarks.report import Figure
from benchmarks.travel import working_in
from glassgpt.interop.exports import export_run
from glassgpt.pretraining.run import start_run
from glassgpt.runs.config import CorpusConfig, RunConfig
from glassgpt.runs.opening import open_run
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.training.config import TrainingConfig

CLIENTS = 64
WORDS = (
    "the",
    "cat",
    "a",
    "dog",
    "sat",
    "on",
    "mat",
    "ran",
    "to",
    "house",
    "big",
    "small",
    "old",
    "red",
    "ball",
)


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    port: int
    process: subprocess.Popen[bytes]
    model: str
    more: dict[str, Any]
    """What else a request says, so that no text ends early."""

    def wait(self) -> None:
        """Wait until it answers."""
        for _ in range(1200):
            if self.process.poll() is not None:
                sys.exit(f"{self.process.args} has ended.")
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1),
            ):
                return
            time.sleep(0.1)
        sys.exit(f"{self.process.args} does not answer.")

    def bodies(
        self, clients: int, requests: int, tokens: int, *, stream: bool, seed: int = 0
    ) -> list[list[Any]]:
        """Return different requests for each client."""
        chance = random.Random(seed)
        body = {"model": self.model, "max_tokens": tokens, "temperature": 0, "stream": stream, **self.more}
        return [
            [
                {**body, "prompt": " ".join(chance.choices(WORDS, k=chance.randrange(2, 13)))}
                for _ in range(requests)
            ]
            for _ in range(clients)
        ]

    def load(self, *shape: int, stream: bool = True, seed: int = 0) -> Load:
        """Return what that many clients saw, with that many requests each of that many tokens."""
        return fresh(load, self.port, "/v1/completions", self.bodies(*shape, stream=stream, seed=seed)).value


def run(quick: bool) -> list[Figure]:
    """Serve a GPT-2 of 1M parameters in three ways, and load the servers in turn."""
    with tempfile.TemporaryDirectory(prefix="glassgpt-serve-") as folder, working_in(Path(folder)):
        end = train(8 if quick else 200)
        with (
            serving([sys.executable, "-m", "glassgpt", "serve", "small", "--port"], "small", end) as ours,
            serving([sys.executable, "-m", "benchmarks.peers.fastapi_generate", "hf"], "hf") as plain,
            serving(
                [beside_python("transformers"), "serve", "hf", "--device", "cpu", "--port"], "hf"
            ) as theirs,
        ):
            for server in (ours, plain, theirs):
                server.wait()
            return [
                *many_clients(ours, quick),
                *first_token(ours, {"FastAPI and generate": plain, "transformers serve": theirs}, quick),
                memory(ours, quick),
            ]


def train(steps: int) -> int:
    """Train the run `small` until it writes words, and export it to `hf`; return the id that ends its texts.

    Peers hold text back until a word is whole, so that a model without words would let them seem slow.
    """
    config = RunConfig(
        corpus=CorpusConfig(sources=("builtin:tinytales:2000",)),
        tokenizer=TokenizerConfig(kind="bpe", vocab_size=SMALL.vocab_size),
        model=SMALL,
        training=TrainingConfig(
            steps=steps, batch_size=8, learning_rate=0.002, sample_every=0, evaluate_every=steps
        ),
    )
    start_run(config, name="small")
    export_run("small", "hf", output=Path("hf"))
    for name in ("config.json", "generation_config.json"):  # so that the peers' texts do not end early either
        facts = json.loads((Path("hf") / name).read_text())
        (Path("hf") / name).write_text(json.dumps(facts | {"eos_token_id": None}))
    return open_run("small").tokenizer.end_of_text


def many_clients(ours: Served, quick: bool) -> list[Figure]:
    """Compare the tokens of 64 clients in a second with those of one, as streams and as whole texts."""
    tokens, rounds, alone, each = (20, 1, 2, 1) if quick else (200, 5, 10, 4)
    speeds: dict[tuple[int, bool], list[float]] = {}
    lost = sent = 0
    shares: list[float] = []
    # Before it counts, the loops are compiled, and each number of rows is met.
    for round_ in range(-1 if quick else -2, rounds):
        for stream in (True, False):
            for clients, requests in ((1, alone), (CLIENTS, each)):
                seen = ours.load(clients, requests, tokens, stream=stream, seed=round_)
                lost, sent = lost + seen.lost, sent + clients * requests
                if round_ >= 0:
                    done = clients * requests - seen.lost
                    speeds.setdefault((clients, stream), []).append(done * tokens / seen.seconds)
                    if clients > 1 and stream:
                        shares.append(seen.cpu_seconds / seen.seconds)
    figures = []
    for stream in (True, False):
        many, one = (statistics.median(speeds[clients, stream]) for clients in (CLIENTS, 1))
        what = "streams" if stream else "whole texts"
        shown = [f"{speed:,.0f} tokens/s" for speed in (many, one)]
        figures.append(
            Figure(f"{CLIENTS} clients at once, {what}; one client of ours", *shown, many / one,
                   "at least 8x, none lost", many >= 8 * one and not lost)
        )  # fmt: skip
    figures.append(Figure(f"answers lost of {sent:,}", f"{lost}", mark="none", reached=not lost))
    figures.append(
        Figure("a core's time that the clients take meanwhile", f"{statistics.median(shares):.0%}")
    )
    return figures


def first_token(ours: Served, peers: dict[str, Served], quick: bool) -> list[Figure]:
    """Compare how long 64 clients that come at once wait for their first token."""
    tokens, rounds = (4, 1) if quick else (64, 3)
    servers = {"ours": ours, **peers}
    waits: dict[str, list[float]] = {name: [] for name in servers}
    for round_ in range(-1, rounds):
        for name, server in servers.items():
            seen = server.load(4 if round_ < 0 else CLIENTS, 1, tokens, seed=round_)
            if seen.lost:
                sys.exit(f"{name} lost {seen.lost} answers.")
            waits[name] += seen.first if round_ >= 0 else []
    figures = []
    for name in peers:
        for share, what in ((0.5, "median"), (0.99, "p99")):
            mine, other = (percentile(waits[server], share) for server in ("ours", name))
            figures.append(
                Figure(f"first token at {CLIENTS} clients, {what}; {name}", f"{mine * 1000:,.0f} ms",
                       f"{other * 1000:,.0f} ms", other / mine, "better", mine < other)
            )  # fmt: skip
    return figures


def memory(ours: Served, quick: bool) -> Figure:
    """Return what the server holds after 1,000 requests and after 10,000, half of them streams."""
    early, late = (128, 256) if quick else (1_000, 10_000)
    held, sent, lost = {}, 0, 0
    for target in (early, late):
        while sent < target:
            each = max(1, min(target - sent, 1_000) // CLIENTS)
            lost += ours.load(CLIENTS, each, 8, stream=bool(sent // CLIENTS % 2), seed=sent).lost
            sent += CLIENTS * each
        held[target] = resident_bytes(ours.process.pid)
    growth = held[late] / held[early] - 1
    shown = [f"{held[target] / 1e6:,.0f} MB" for target in (late, early)]
    return Figure(f"memory after {late:,} requests; after {early:,}", *shown, held[early] / held[late],
                  "at most 5% more, none lost", growth <= 0.05 and not lost)  # fmt: skip


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def beside_python(name: str) -> str:
    """Return the path of a program that is installed with this Python."""
    return str(Path(sys.executable).parent / name)


@contextlib.contextmanager
def serving(command: Sequence[str], model: str, end: int | None = None) -> Iterator[Served]:
    """Run a server, whose command ends with its port, until the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    more = {} if end is None else {"logit_bias": {str(end): -100}}
    root = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(root), *sys.path))),
    }
    with subprocess.Popen(
        [*command, str(port)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield Served(port, process, model, more)
        finally:
            process.kill()

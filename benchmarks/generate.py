"""Generation: one stream, the first token, a batch, int8 weights, and all of them beside a busy core.

The peer is `generate` of transformers, with its cache, on the same weights. Both are greedy and must give the same
ids. The peer is measured with one CPU thread, which is faster at this size, and with torch's default. Ours writes with
the compiled loops where numba is installed, and the same with torch is beside it.
"""

from __future__ import annotations

import copy
import itertools
import random
import statistics
from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.measure import alternate, busy_core, fresh, resident_bytes, timed
from benchmarks.peers import llama_cpp, transformers_gpt2
from benchmarks.report import Figure
from glassgpt.device import available_cores
from glassgpt.generation.engine import generate_batch, generate_ids
from glassgpt.generation.engines import Engine, has_numba
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.interop.llama_server import Llama
from glassgpt.model.config import ModelConfig
from glassgpt.model.forms import store
from glassgpt.model.gpt import GPT
from glassgpt.model.int8 import quantize
from glassgpt.model.presets import PRESETS

SMALL = replace(
    PRESETS["gpt2-small"], vocab_size=1024, context_length=256, n_layer=4, n_head=4, n_embd=128, dropout=0.0
)
LARGE = replace(PRESETS["gpt2-small"], context_length=256, dropout=0.0)
GREEDY = SamplingConfig(temperature=0)
PROMPT = list(range(5, 21))
ROWS = 32
BEST: Engine = "loops" if has_numba() else "torch"


def run(quick: bool) -> list[Figure]:
    """Return the figures of one stream, a batch, and int8 weights."""
    return [
        *small_model(quick),
        *beside_llama_cpp(quick),
        *int8_weights(quick),
        *beside_a_busy_core(quick),
    ]


def small_model(quick: bool) -> list[Figure]:
    """Measure GPT-2 with 1M parameters and a default model, each with one stream and a batch of mixed lengths."""
    tokens, rounds = (40, 2) if quick else (200, 7)
    peer = transformers_gpt2.make(SMALL)
    ours, nano = transformers_gpt2.as_ours(peer, SMALL), GPT(PRESETS["nano"]).eval()
    halved = store(copy.deepcopy(ours), "bfloat16")
    assert write(ours, tokens) == transformers_gpt2.generate(peer, PROMPT, tokens)
    subjects = {
        "peer": lambda: in_threads(1, lambda: transformers_gpt2.generate(peer, PROMPT, tokens)),
        "peer by default": lambda: in_threads(
            available_cores(), lambda: transformers_gpt2.generate(peer, PROMPT, tokens)
        ),
        "ours": lambda: write(ours, tokens),
        "ours with torch": lambda: write(ours, tokens, "torch"),
        "nano": lambda: write(nano, tokens),
        "first": lambda: write(ours, 1),
        "peer first": lambda: in_threads(1, lambda: transformers_gpt2.generate(peer, PROMPT, 1)),
        "batch": lambda: write_batch(ours, tokens),
        "batch with torch": lambda: write_batch(ours, tokens, "torch"),
        "batch in bfloat16": lambda: write_batch(halved, tokens),
        "nano batch": lambda: write_batch(nano, tokens),
    }
    seconds = alternate(subjects, rounds=rounds, warmups=1 if quick else 2)
    speed = {name: tokens * (ROWS if "batch" in name else 1) / value for name, value in seconds.items()}
    return [
        faster("one stream, 1M GPT-2; transformers with one thread", speed, "ours", "peer", 12),
        faster("one stream, 1M GPT-2; transformers by default", speed, "ours", "peer by default", 12),
        faster("one stream, 1M GPT-2; ours with torch", speed, "ours", "ours with torch", 1),
        Figure("one stream, `nano`", f"{speed['nano']:,.0f} tokens/s"),
        Figure(
            "first token after a prompt of 16, 1M GPT-2",
            f"{seconds['first'] * 1000:.2f} ms",
            f"{seconds['peer first'] * 1000:.2f} ms",
            seconds["peer first"] / seconds["first"],
        ),
        faster("32 prompts of mixed lengths; one stream of ours", speed, "batch", "ours", 5),
        faster("the same; ours with torch", speed, "batch", "batch with torch", 1),
        faster("the same, `--weights bfloat16`; float32", speed, "batch in bfloat16", "batch", 1),
        faster("the same, `nano`; one stream of ours", speed, "nano batch", "nano", 5),
    ]


def beside_llama_cpp(quick: bool) -> list[Figure]:
    """Compare one stream of the same model with llama.cpp: 1M on one thread, 124M on all, in float32 and in 8 bits."""
    tokens, rounds = (40, 2) if quick else (200, 7)
    found = [llama_figure("1M", llama_cpp.pair(SMALL), tokens, rounds, 1, "float32", 1.5)]
    name, config = ("1M", SMALL) if quick else ("124M", LARGE)
    for int8 in (False, True):
        pair = llama_cpp.pair(config, int8=int8, threads=available_cores())
        kind = "8 bits (q8_0)" if int8 else "float32"
        found.append(
            llama_figure(name, pair, 4 if quick else 40, 2 if quick else 5, available_cores(), kind, 1.0)
        )
    return found


def llama_figure(
    name: str, pair: tuple[GPT, Llama], tokens: int, rounds: int, threads: int, kind: str, mark: float
) -> Figure:
    """Return the speeds of a pair that writes alternately."""
    ours, llama = pair
    speeds: dict[str, list[float]] = {"ours": [], "llama.cpp": []}
    for _ in range(rounds + 2):
        speeds["ours"].append(tokens / timed(lambda: in_threads(threads, lambda: write(ours, tokens))))
        speeds["llama.cpp"].append(llama_cpp.tokens_per_second(llama, PROMPT, tokens))
    llama.close()
    speed = {name: statistics.median(values[2:]) for name, values in speeds.items()}
    cores = f"{threads} thread{'' if threads == 1 else 's'}"
    return faster(
        f"one stream, {name} GPT-2; llama.cpp with {cores}, {kind}", speed, "ours", "llama.cpp", mark
    )


def beside_a_busy_core(quick: bool) -> list[Figure]:
    """Measure what another program that keeps one core busy leaves of each speed."""
    tokens, few = (40, 4) if quick else (200, 40)
    torch.manual_seed(0)
    name, large = ("1M", SMALL) if quick else ("124M", LARGE)
    small, exact, rounded = GPT(SMALL).eval(), big_model(large, int8=False), big_model(large, int8=True)
    subjects = {
        "one stream, 1M GPT-2": lambda: write(small, tokens),
        "32 prompts, 1M GPT-2": lambda: write_batch(small, tokens),
        f"one stream, {name} GPT-2, float32": lambda: write(exact, few),
        f"one stream, {name} GPT-2, int8": lambda: write(rounded, few),
    }
    rounds = 1 if quick else 3
    quiet = alternate(subjects, rounds=rounds)
    with busy_core():
        busy = alternate(subjects, rounds=rounds)
    return [
        Figure(
            f"{name} beside a program that keeps a core busy; quiet",
            f"{count / busy[name]:,.1f} tokens/s",
            f"{count / quiet[name]:,.1f} tokens/s",
            quiet[name] / busy[name],
            "at least 0.6x",
            None if quick else quiet[name] / busy[name] >= 0.6,
        )
        for name, count in zip(subjects, (tokens, ROWS * tokens, few, few), strict=True)
    ]


def int8_weights(quick: bool) -> list[Figure]:
    """Measure a random model of GPT-2's smallest size in float32 and int8: its speed, and the memory of a process."""
    tokens, config = (4, SMALL) if quick else (24, LARGE)
    exact, rounded = big_model(config, int8=False), big_model(config, int8=True)
    seconds = alternate(
        {
            "float32": lambda: write(exact, tokens),
            "torch": lambda: write(exact, tokens, "torch"),
            "int8": lambda: write(rounded, tokens),
            "batch": lambda: write_batch(exact, tokens),
            "batch in int8": lambda: write_batch(rounded, tokens),
        },
        rounds=2 if quick else 3,
    )
    held = {kind: fresh(resident, config, kind == "int8").value for kind in ("float32", "int8")}
    name = "1M" if quick else "124M"
    return [
        Figure(
            f"one stream, {name} GPT-2; ours with torch",
            f"{tokens / seconds['float32']:.1f} tokens/s",
            f"{tokens / seconds['torch']:.1f} tokens/s",
            seconds["torch"] / seconds["float32"],
        ),
        Figure(
            f"one stream, {name} GPT-2, int8 weights; float32",
            f"{tokens / seconds['int8']:.1f} tokens/s",
            f"{tokens / seconds['float32']:.1f} tokens/s",
            seconds["float32"] / seconds["int8"],
        ),
        Figure(
            f"32 prompts of mixed lengths, {name} GPT-2, int8 weights; float32",
            f"{ROWS * tokens / seconds['batch in int8']:,.0f} tokens/s",
            f"{ROWS * tokens / seconds['batch']:,.0f} tokens/s",
            seconds["batch"] / seconds["batch in int8"],
        ),
        Figure(
            f"memory of the model, {name} GPT-2, int8 weights; float32",
            f"{held['int8'] / 1e6:,.0f} MB",
            f"{held['float32'] / 1e6:,.0f} MB",
            held["float32"] / held["int8"],
        ),
    ]


def big_model(config: ModelConfig, int8: bool) -> GPT:
    """Return a random model."""
    torch.manual_seed(0)
    model = GPT(config).eval()
    return quantize(model) if int8 else model


def resident(config: ModelConfig, int8: bool) -> int:
    """Return the bytes that a model adds to what the process keeps in memory."""
    before = resident_bytes()
    model = big_model(config, int8)
    after = resident_bytes()
    assert model is not None
    return after - before


def write(model: GPT, tokens: int, engine: Engine = BEST) -> list[int]:
    """Return the greedy ids after the prompt."""
    return [id for (id,) in itertools.islice(generate_ids(model, PROMPT, GREEDY, engine=engine), tokens)]


def write_batch(model: GPT, tokens: int, engine: Engine = BEST) -> list[list[tuple[int, int]]]:
    """Continue 32 prompts of 4 to 39 ids."""
    chance = random.Random(1)
    prompts = [[chance.randrange(1024) for _ in range(chance.randrange(4, 40))] for _ in range(ROWS)]
    return list(generate_batch(model, prompts, GREEDY, max_tokens=tokens, engine=engine))


def in_threads(threads: int, subject: Callable[[], object]) -> object:
    """Call a subject with this number of CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return subject()
    finally:
        torch.set_num_threads(before)


def faster(what: str, speed: dict[str, float], ours: str, peer: str, mark: float) -> Figure:
    """Return a figure of two speeds whose mark is a multiple."""
    ratio = speed[ours] / speed[peer]
    shown = (f"{speed[name]:,.0f} tokens/s" for name in (ours, peer))
    return Figure(what, *shown, ratio, f"at least {mark:g}x", ratio >= mark)

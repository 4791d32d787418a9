"""A decoder that writes with `loops.step`: it lays out what the loops need, and lets several threads share a step.

`LoopDecoder` does what `decoder.Decoder` does with torch: texts that were read are put into rows, then each step adds
one token to each row. The model's weights are not copied. The loops read them where they are, so weights that are
trained further in place are those that write. Texts are read by the model itself, whose large products are faster.

This module imports numba and compiles, so `engines` decides when it is imported.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from glassgpt.generation import loop_choice, loops
from glassgpt.generation.decoder import SMALLEST_CACHE
from glassgpt.generation.loop_choice import LoopChooser
from glassgpt.generation.loops import WIDE
from glassgpt.generation.machine_words import HAS_HALVES, LARGEST_HALF
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.model.attend import fused
from glassgpt.model.attention import Attention
from glassgpt.model.blank import blank
from glassgpt.model.cache import KVCache
from glassgpt.model.config import ModelConfig
from glassgpt.model.forms import Form, store
from glassgpt.model.gpt import GPT, Block
from glassgpt.model.int8 import Int8Linear
from glassgpt.model.layers import MLP, GatedMLP, RMSNorm
from glassgpt.model.positions import rope_frequencies, rotation, sinusoids
from glassgpt.model.stored import Bfloat16Linear, StoredLinear
from glassgpt.model.summary import parameter_shapes

NORMS = {"layernorm": loops.LAYERNORM, "rmsnorm": loops.RMSNORM}
ACTIVATIONS = {
    "relu": loops.RELU,
    "gelu": loops.GELU,
    "gelu_tanh": loops.GELU_TANH,
    "relu2": loops.RELU2,
    "swiglu": loops.SWIGLU,
}
STORED = {torch.float32: loops.FLOAT32, torch.bfloat16: loops.BFLOAT16, torch.int8: loops.INT8}
KNOWN = (
    GPT, Block, Attention, MLP, GatedMLP, RMSNorm, nn.ModuleList, nn.Linear, Int8Linear, Bfloat16Linear,
    nn.Embedding, nn.LayerNorm, nn.Dropout,
)  # fmt: skip
"""Modules that the loops compute. Any other, such as an adapter, is another computation."""
STEP: Any = loops.step
HELP: Any = loops.help
CALL: Any = loops.call
DISMISS: Any = loops.dismiss
CHOOSE: Any = loop_choice.choose
FEW = 3 * WIDE // 4
"""Rows up to which each is a tile: a wide one takes as long as about this many."""
LINE = 64
"""Bytes of a cache line."""
HALF = np.dtype(np.int16)
"""Holds the bits of float16: numba knows no such numbers on a CPU."""
CACHES: tuple[Form, ...] = ("as-saved", "bfloat16") if HAS_HALVES else ("as-saved",)
"""A form of the weights for each dtype of the cache: the loops are compiled once for each."""
COMPILED = ((STEP, len(CACHES)), (HELP, len(CACHES)), (CALL, 1), (DISMISS, 1), (CHOOSE, 1))
"""What Python calls, and for how many kinds of arguments each is compiled."""
MOST_READ = 256
"""Tokens of texts that are read in one step."""
MOST_LAYOUTS = 8
"""Numbers of tiles for which room to work in is kept."""
EVERYTHING = 2**62
"""A window that no text fills."""


def why_not(model: GPT) -> str | None:
    """Return what a model has that the loops do not compute, None where they do."""
    for option, known in (("norm", NORMS), ("activation", ACTIVATIONS)):
        if getattr(model.config, option) not in known:
            return f"{option} {getattr(model.config, option)!r}"
    for name, module in model.named_modules():
        if type(module) not in KNOWN:
            return f"a {type(module).__name__} at {name}"
        if isinstance(module, Attention) and module.form is not fused:
            return f"another form of attention at {name}"
        if isinstance(module, nn.LayerNorm | RMSNorm) and not _is_usual(module, name, model.config):
            return f"another norm at {name}"
        if isinstance(module, Int8Linear) and module.is_packed:
            return f"a matrix in the order of another library at {name}"
    if len(kinds := _kinds(model)) > 1:
        return "matrices in " + " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    weights, shapes = _weights(model), parameter_shapes(model.config)
    found = {name: tuple(weight.shape) for name, weight in weights.items() if not name.endswith(".scale")}
    for name in {**shapes, **found}:
        if found.get(name) != shapes.get(name, _shape_beside(name, found)):
            return f"{name} of the shape {found.get(name)}"
    for name, weight in weights.items():
        stored = name.endswith(".weight") and isinstance(model.get_submodule(name[:-7]), StoredLinear)
        known = weight.dtype in (STORED if stored else (torch.float32,))
        if weight.device.type != "cpu" or not known or not weight.is_contiguous():
            return f"weights in {weight.dtype} on {weight.device.type} at {name}"
    return None


def _kinds(model: GPT) -> set[torch.dtype]:
    """Return in which dtypes the matrices of linear layers are stored; a tied head is the embedding's."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear | StoredLinear)]
    tied = {model.token_embedding.weight.dtype} if model.head is None else set()
    return tied | {_linear(module)[0].dtype for module in linear}


def _weights(model: GPT) -> dict[str, Tensor]:
    """Return the parameters, and what stands for some of them in fewer bits, by name."""
    found: dict[str, Tensor] = dict(model.named_parameters())
    for name, module in model.named_modules():
        if isinstance(module, StoredLinear):
            found[f"{name}.weight"] = module.matrix_NC
            if module.scale_N is not None:
                found[f"{name}.scale"] = module.scale_N
            if module.bias_N is not None:
                found[f"{name}.bias"] = module.bias_N
    return found


def _is_usual(norm: nn.LayerNorm | RMSNorm, name: str, config: ModelConfig) -> bool:
    """Return whether a norm is the one that the config names; those of queries and keys are always RMSNorm."""
    layernorm = config.norm == "layernorm" and not name.endswith(("query_norm", "key_norm"))
    epsilon = norm.eps if isinstance(norm, nn.LayerNorm) else norm.epsilon
    return isinstance(norm, nn.LayerNorm) == layernorm and epsilon == config.norm_epsilon


def _shape_beside(name: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the shape that a weight must have which the config does not name: a bias, or a head that is not tied."""
    if name == "head.weight":
        return shapes["token_embedding.weight"]
    return shapes.get(name.removesuffix("bias") + "weight", ())[:1] if name.endswith(".bias") else None


class LoopDecoder:
    """Rows of cached tokens, each with its own length; `put` texts that were read into them, then `step`."""

    def __init__(self, model: GPT, rows: int) -> None:
        self.model = model
        config = model.config
        self._shape, self._numbers = _described(model)
        self._turns, self._positions = _tables(model)
        self._weights = _addresses(model, self._positions)
        self._gate, self._turn = np.zeros(1, np.int64), 0
        self._keeps = (
            HALF if HAS_HALVES and self._shape[loops.STORED] != loops.FLOAT32 else np.dtype(np.float32)
        )
        self._keys, self._values = self._new_cache(rows, min(SMALLEST_CACHE, config.context_length))
        self._prepared, self._rooms = (0, 0, 0), {}

    @property
    def rows(self) -> int:
        """The number of rows that there is room for."""
        return self._keys.shape[1]

    def put(self, rows: list[int], held: KVCache, sources: list[int]) -> None:
        """Replace the contents of `rows` by those of the rows `sources` of a cache."""
        self._make_room(held.length)
        length, groups = held.length, -(-held.length // WIDE)
        self._values[:, rows, :, :length] = self._kept(held.values_LBKSD[:, sources, :, :length])
        new_LBKSD = self._kept(held.keys_LBKSD[:, sources, :, :length])
        keys_LBKSD = np.zeros((*new_LBKSD.shape[:3], groups * WIDE, new_LBKSD.shape[4]), self._keeps)
        keys_LBKSD[:, :, :, :length] = new_LBKSD
        keys_LBKGWD = keys_LBKSD.reshape(*new_LBKSD.shape[:3], groups, WIDE, new_LBKSD.shape[4])
        self._keys[:, rows, :, :groups] = keys_LBKGWD.swapaxes(-1, -2)

    def take(self, row: int, length: int) -> KVCache:
        """Return a copy of the first `length` tokens of a row."""
        taken, groups = self.model.new_cache(1, capacity=length), -(-length // WIDE)
        numbers = np.float16 if self._keeps == HALF else np.float32
        taken.values_LBKSD[:, 0] = torch.from_numpy(self._values[:, row, :, :length].view(numbers))
        keys_LKGWD = self._keys[:, row, :, :groups].swapaxes(-1, -2)
        keys_LKSD = keys_LKGWD.reshape(*keys_LKGWD.shape[:2], groups * WIDE, self._keys.shape[4])
        taken.keys_LBKSD[:, 0] = torch.from_numpy(keys_LKSD[:, :, :length].view(numbers))
        taken.length = length
        return taken

    def step(self, ids: list[int], places: list[int], threads: int) -> Tensor:
        """Add one id to each of the first rows, at its place; return the logits (B, V) after it.

        They are overwritten by the next step.
        """
        self._make_room(max(places) + 1)
        if self._prepared != (len(ids), len(ids), threads):
            self._prepare(len(ids), len(ids), threads)
            self._rows_B[:] = self._wanted[:] = range(len(ids))
        self._ids_B[:], self._places_B[:] = ids, places
        self._turn = CREW.run(self._arguments, self._turn, threads)
        return self._logits_BV

    def read(self, rows: list[int], texts: list[list[int]], starts: list[int], threads: int) -> Tensor:
        """Add the ids of a text to each of some rows, from its place on; return the logits (B, V) after them.

        Texts of any lengths are read together.
        """
        self._make_room(max(start + len(text) for start, text in zip(starts, texts, strict=True)))
        tokens = [
            (id, place, row, id_place == len(text) - 1)
            for row, text, start in zip(rows, texts, starts, strict=True)
            for id_place, (id, place) in enumerate(zip(text, range(start, start + len(text)), strict=True))
        ]
        found = []
        for first in range(0, len(tokens), MOST_READ):
            ids, places, of_rows, is_last = zip(*tokens[first : first + MOST_READ], strict=True)
            wanted = [number for number, last in enumerate(is_last) if last] or [0]
            self._prepare(len(ids), len(wanted), threads)
            self._ids_B[:], self._places_B[:] = ids, places
            self._rows_B[:], self._wanted[:] = of_rows, wanted
            self._turn = CREW.run(self._arguments, self._turn, threads)
            if any(is_last):
                found.append(self._logits_BV.clone())
        self._prepared = 0, 0, 0
        return torch.cat(found)

    def _prepare(self, count: int, wanted: int, threads: int) -> None:
        """Lay out the arguments of a step of `count` tokens: all but the turn stay the same from step to step."""
        self._prepared = count, wanted, threads
        self._ids_B, self._places_B, self._rows_B = (np.empty(count, np.int64) for _ in range(3))
        self._wanted = np.empty(wanted, np.int64)
        layout = _tiles(count), _tiles(wanted), threads
        if layout not in self._rooms:
            if len(self._rooms) == MOST_LAYOUTS:
                self._rooms.clear()
            self._rooms[layout] = _rooms(self.model.config, *layout)
        *rooms, logits_BV = self._rooms[layout]
        self._arguments = (
            self._ids_B,
            self._places_B,
            self._rows_B,
            self._wanted,
            self._shape,
            self._numbers,
            self._weights,
            self._turns,
            self._keys,
            self._values,
            *rooms,
            logits_BV[:wanted],
            self._gate,
        )
        self._logits_BV = torch.from_numpy(logits_BV[:wanted])

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the `length` tokens of row `source` to row `target`."""
        groups = -(-length // WIDE)
        self._keys[:, target, :, :groups] = self._keys[:, source, :, :groups]
        self._values[:, target, :, :length] = self._values[:, source, :, :length]

    def grow(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self._resize(rows, self._values.shape[3])

    def _make_room(self, tokens: int) -> None:
        """Let the cache grow until `tokens` fit: to twice its size, so that each token is copied once or twice."""
        if tokens > (capacity := self._values.shape[3]):
            self._resize(self.rows, min(max(tokens, 2 * capacity), self.model.config.context_length))

    def _resize(self, rows: int, capacity: int) -> None:
        smaller = self._keys, self._values
        self._prepared = 0, 0, 0
        self._keys, self._values = self._new_cache(rows, capacity)
        for old, new in zip(smaller, (self._keys, self._values), strict=True):
            new[:, : old.shape[1], :, : old.shape[3]] = old

    def _new_cache(self, rows: int, capacity: int) -> tuple[np.ndarray, np.ndarray]:
        """Return room for keys (L, B, K, G, D, W), in groups of W tokens, and for values (L, B, K, S, D)."""
        config = self.model.config
        shape, width = (config.n_layer, rows, config.kv_heads), config.head_dim
        keys = _aligned(*shape, -(-capacity // WIDE), width, WIDE, dtype=self._keeps, zero=False)
        return keys, _aligned(*shape, capacity, width, dtype=self._keeps, zero=False)

    def _kept(self, numbers: Tensor) -> np.ndarray:
        """Return keys or values as the cache stores them."""
        if self._keeps != HALF:
            return numbers.numpy()
        return numbers.clamp(-LARGEST_HALF, LARGEST_HALF).half().numpy().view(HALF)


def _tiles(count: int) -> tuple[int, int]:
    """Return how many tiles a number of rows is put into, and how many rows each has room for."""
    rows = 1 if count <= FEW else WIDE
    return -(-count // rows), rows


def _rooms(
    config: ModelConfig, body: tuple[int, int], head: tuple[int, int], threads: int
) -> tuple[np.ndarray, ...]:
    """Return the room that `loops.step` works in, in the order of its arguments; the last are the logits (B, V).

    `body` and `head` are the tiles of all tokens, and of those whose logits are wanted.
    """
    qkv = (config.n_head + 2 * config.kv_heads) * config.head_dim
    widths = (qkv, config.attention_width, config.mlp_width, config.mlp_width)
    (tiles, rows), (last_tiles, last_rows) = body, head
    logits_BV = _aligned(last_tiles * last_rows, config.vocab_size)
    scores = -(-config.context_length // WIDE) * WIDE
    return (
        _aligned(tiles, config.n_embd, rows),
        _aligned(threads, tiles, config.n_embd, rows),
        *(_aligned(tiles, width, rows) for width in widths),
        _aligned(threads, last_tiles, config.n_embd, last_rows),
        _aligned(last_tiles, config.vocab_size, last_rows) if last_rows == WIDE else logits_BV[:, :, None],
        _aligned(threads, 4, config.head_dim),
        _aligned(threads, scores),
        _aligned(threads, loops.SIX * max(config.n_embd, *widths)),
        logits_BV,
    )


def _aligned(*shape: int, dtype: Any = np.float32, zero: bool = True) -> np.ndarray:
    """Return numbers that begin where a cache line begins, so that no register is filled from two lines."""
    size = np.dtype(dtype).itemsize
    numbers = (np.zeros if zero else np.empty)(math.prod(shape) + LINE // size, dtype)
    first = -numbers.ctypes.data % LINE // size
    return numbers[first : first + math.prod(shape)].reshape(shape)


def _linear(module: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the matrix of a linear layer, its bias, and the scale of each output."""
    if isinstance(module, StoredLinear):
        return module.matrix_NC, module.bias_N, module.scale_N
    return module.weight, module.bias, None


def _described(model: GPT) -> tuple[np.ndarray, np.ndarray]:
    """Return the `shape` and the `numbers` of a model as `loops` names them."""
    config = model.config
    shape = np.zeros(loops.SHAPE_SIZE, np.int64)
    shape[loops.LAYERS] = config.n_layer
    shape[loops.HEADS], shape[loops.KV_HEADS] = config.n_head, config.kv_heads
    shape[loops.HEAD_DIM] = config.head_dim
    shape[loops.VOCABULARY] = config.vocab_size
    shape[loops.NORM], shape[loops.ACTIVATION] = NORMS[config.norm], ACTIVATIONS[config.activation]
    shape[loops.WINDOW] = EVERYTHING if config.attention == "full" else config.local_window
    shape[loops.STRIDE] = (config.stride or 1) if config.attention == "strided" else 0
    shape[loops.ROTARY] = config.positions == "rotary"
    (stored,) = _kinds(model)
    shape[loops.STORED] = STORED[stored]
    numbers = np.zeros(2, np.float32)
    numbers[loops.EPSILON] = config.norm_epsilon
    numbers[loops.EMBEDDING_SCALE] = math.sqrt(config.n_embd) if config.positions == "sinusoidal" else 1.0
    return shape, numbers


def _tables(model: GPT) -> tuple[np.ndarray, Tensor | None]:
    """Return the turns of rotary positions (2, S, E), and the vectors that are added to embeddings (S, C)."""
    config = model.config
    places = torch.arange(config.context_length)
    turns, positions = np.zeros((2, 1, 1), np.float32), None
    if config.positions == "rotary":
        turns = torch.stack([*rotation(places, rope_frequencies(config))]).numpy()
    elif config.positions == "sinusoidal":
        positions = sinusoids(places, config.n_embd).contiguous()
    elif config.positions == "learned":
        positions = model.position_embedding.weight
    return np.ascontiguousarray(turns), positions


def _addresses(model: GPT, positions: Tensor | None) -> np.ndarray:
    """Return where each weight lies, as `loops` names them: (L + 1, ADDRESSES)."""
    found = np.zeros((model.config.n_layer + 1, loops.ADDRESSES), np.int64)

    def note(row: int, place: int, tensor: Any) -> None:
        found[row, place] = 0 if tensor is None else tensor.data_ptr()

    def note_norm(row: int, place: int, module: Any) -> None:
        note(row, place, module.weight)
        note(row, place + loops.BIAS, getattr(module, "bias", None))

    def note_linear(row: int, place: int, module: Any) -> None:
        for beside, tensor in enumerate(_linear(module)):
            note(row, place + beside, tensor)

    for row, block in enumerate(model.blocks):
        attention, mlp = block.get_submodule("attention"), block.get_submodule("mlp")
        note_norm(row, loops.ATTENTION_NORM, block.get_submodule("attention_norm"))
        note_linear(row, loops.QKV, attention.qkv)
        if model.config.qk_norm:
            note(row, loops.QUERY_NORM, attention.get_submodule("query_norm").weight)
            note(row, loops.KEY_NORM, attention.get_submodule("key_norm").weight)
        note_linear(row, loops.OUTPUT, attention.output)
        note_norm(row, loops.MLP_NORM, block.get_submodule("mlp_norm"))
        if hasattr(mlp, "gate"):
            note_linear(row, loops.GATE, mlp.gate)
        note_linear(row, loops.UP, mlp.up)
        note_linear(row, loops.DOWN, mlp.down)
    rest = model.config.n_layer
    note(rest, loops.EMBEDDING, model.token_embedding.weight)
    note(rest, loops.POSITIONS, positions)
    note_norm(rest, loops.FINAL_NORM, model.final_norm)
    if isinstance(model.head, StoredLinear):
        note_linear(rest, loops.HEAD, model.head)
    else:
        note(rest, loops.HEAD, model.head_weight)
        note(rest, loops.HEAD + loops.BIAS, model.head_bias)
    return found


class Crew:
    """Threads that take parts of steps. Between steps of the same arrays they stay in compiled code for a moment."""

    def __init__(self) -> None:
        self._helpers: list[_Helper] = []
        self._process = 0
        self._lock = threading.Lock()

    def run(self, arguments: tuple[Any, ...], turn: int, parts: int) -> int:
        """Run a step with several threads, this one among them; return how often the gate was passed."""
        if parts > 1:
            if self._process != os.getpid():  # threads are not there after a fork
                self._process, self._helpers, self._lock = os.getpid(), [], threading.Lock()
            with self._lock:  # so that all helpers get the steps of several callers in the same order
                while len(self._helpers) < parts - 1:
                    self._helpers.append(_Helper(part=len(self._helpers) + 1))
                for helper in self._helpers[: parts - 1]:
                    helper.give(arguments, turn, parts)
        return STEP(*arguments, turn, 0, parts)

    def end(self) -> None:
        """Let the threads end, and wait until they have."""
        if self._process == os.getpid():
            for helper in self._helpers:
                helper.jobs.put(None)
                helper.thread.join(1.0)  # one whose others never came to the gate waits there for ever
            self._helpers = []


class _Helper:
    """A thread that takes the part `part` of steps."""

    def __init__(self, part: int) -> None:
        self.jobs: SimpleQueue[tuple[tuple[Any, ...], int, int] | None] = SimpleQueue()
        self._arguments: tuple[Any, ...] | None = None
        """Those of the step that it is at, while it may be called for the next with the same."""
        self._note = np.full(LINE // 8, loops.ASLEEP)  # fills a cache line, so that only this is waited for
        self.thread = threading.Thread(target=self._work, args=(part,), daemon=True)
        self.thread.start()

    def give(self, arguments: tuple[Any, ...], turn: int, parts: int) -> None:
        """Let it take part in a step, after those that it was given before."""
        if self._arguments is arguments and self.jobs.empty() and CALL(self._note):
            return
        DISMISS(self._note)
        self.jobs.put((arguments, turn, parts))

    def _work(self, part: int) -> None:
        while True:
            if (job := self.jobs.get()) is None:
                return
            arguments, turn, parts = job
            self._arguments = arguments  # laid out for this number of parts
            HELP(*arguments, turn, self._note, part, parts)
            # They were held until here: the gate is looked at when other threads have left and the decoder is gone.
            del arguments, job
            self._arguments = None


CREW = Crew()
"""The threads of this process, for every decoder."""
atexit.register(CREW.end)  # Python ends threads that it finds in compiled code by aborting the process


def is_compiled() -> bool:
    """Return whether an earlier process has compiled the loops, as they are now, for this processor."""
    return all(_compiled_before(function) >= count for function, count in COMPILED)


def _compiled_before(function: Any) -> int:
    """Return for how many kinds of arguments numba has kept a function; none of another version or processor counts."""
    processor = function.targetctx.codegen().magic_tuple()
    return sum(key[1] == processor for key in function._cache._cache_file._load_index())


def compile_step(until: Callable[[], bool] = lambda: False) -> bool:
    """Compile the loops, or load what was compiled before, by steps of the smallest model.

    `until` is asked in between, and ends it. Returns whether everything is there.
    """
    config = ModelConfig(vocab_size=1, context_length=1, n_layer=1, n_head=1, n_embd=2)
    for form in CACHES:
        if until():
            return False
        model = store(blank(config, "cpu").requires_grad_(False), form)  # its weights may be anything
        decoder = LoopDecoder(model, 1)
        for _ in range(2):  # a helper is given the first, and is called for the second
            decoder.step([0], [0], 2)
    if until():
        return False
    chooser = LoopChooser(1, 1)
    chooser.set([SamplingConfig(temperature=0)])
    chooser.next_ids(np.zeros((1, 1), np.float32), [0.0])
    return True


if __name__ == "__main__":
    compile_step()

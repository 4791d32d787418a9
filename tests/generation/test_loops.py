"""The compiled loops write what the model writes: every part that a model may have, alone and in company."""

from __future__ import annotations

import copy
import random
import threading
import time
import weakref
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glassgpt.errors import ModelError
from glassgpt.generation.engine import generate_ids
from glassgpt.generation.reading import Reading
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.model.attention import using
from glassgpt.model.cache import KVCache
from glassgpt.model.config import ModelConfig
from glassgpt.model.forms import FORMS, Form, store
from glassgpt.model.gpt import GPT
from glassgpt.model.int8 import quantize
from glassgpt.model.points import looking
from glassgpt.model.stored import StoredLinear, halve

pytest.importorskip("numba", reason="needs numba (the extra `fast`)")

from glassgpt.generation import loop_engine
from glassgpt.generation.loop_engine import (
    ACTIVATIONS,
    COMPILED,
    FEW,
    HAS_HALVES,
    MOST_READ,
    NORMS,
    LoopDecoder,
    why_not,
)
from glassgpt.generation.loops import WIDE

MANY = max(FEW + 1, WIDE + 3)
"""Rows that are put into wide tiles, the last of which is not full."""

SMALL = {"vocab_size": 61, "context_length": 24, "n_layer": 2, "n_head": 4, "n_embd": 32}
GPT2 = {
    "positions": "learned", "norm": "layernorm", "activation": "gelu_tanh", "qk_norm": False, "qkv_bias": True,
    "attention_bias": True, "mlp_bias": True, "norm_bias": True,
}  # fmt: skip
PARTS: list[dict[str, Any]] = [
    {},
    GPT2,
    {"positions": "sinusoidal", "activation": "gelu", "mlp_bias": True},
    {"positions": "none", "activation": "relu", "norm": "layernorm"},
    {"activation": "relu2", "n_kv_head": 2},
    {"n_kv_head": 1, "n_head_dim": 6, "mlp_bias": True, "qkv_bias": True},
    {"attention": "sliding", "window": 5},
    {"attention": "strided", "stride": 4},
    {"attention": "strided", "stride": 3, "window": 6, "n_kv_head": 2},
    {"tied_head": False, "head_bias": True, "qk_norm": False},
    {"rope_scaling": "linear", "rope_factor": 4.0, "rope_theta": 500.0},
    {"rope_scaling": "llama3", "rope_factor": 4.0, "rope_original_length": 12},
    {"n_hidden": 37, "vocab_size": 67, "n_embd": 40, "n_head_dim": 10, "norm_epsilon": 0.1},
]  # fmt: skip
GREEDY = SamplingConfig(temperature=0)


def model_with(**parts: Any) -> GPT:
    """Return a model whose weights are far from their beginning, so that every part matters."""
    torch.manual_seed(0)
    model = GPT(ModelConfig(**(SMALL | parts))).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.add_(torch.randn_like(weight) * 0.3)
    return model


def put(decoder: LoopDecoder, texts: list[list[int]]) -> None:
    """Let the model read texts, and put each into its row."""
    for row, text in enumerate(texts):
        reading = Reading(decoder.model, [text])
        reading.read()
        decoder.put([row], reading.cache, [0])


def words(parts: dict[str, Any]) -> str:
    return "-".join(f"{value}" for value in parts.values()) or "usual"


@pytest.fixture
def threads() -> Any:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("rows", "count"), [(1, 1), (1, 3), (3, 1), (3, 2), (6, 1), (6, 3), (MANY, 1), (MANY, 2)]
)
@pytest.mark.parametrize("parts", PARTS, ids=words)
def test_logits_are_those_of_the_model(parts: dict[str, Any], rows: int, count: int, threads: Any) -> None:
    """Within float32 rounding of the largest, at every place of the context, for texts of different lengths."""
    threads(count)
    model, generator = model_with(**parts), torch.Generator().manual_seed(1)
    lengths = [1 + 3 * row % 17 for row in range(rows)]
    ids_BT = torch.randint(0, model.config.vocab_size, (rows, 24), generator=generator)
    logits_BTV = model(ids_BT)
    decoder = LoopDecoder(model, rows)
    put(decoder, [ids_BT[row, :length].tolist() for row, length in enumerate(lengths)])
    largest = logits_BTV.abs().max()
    for step in range(24 - max(lengths)):
        places = [length + step for length in lengths]
        ids = [int(ids_BT[row, place]) for row, place in enumerate(places)]
        found = decoder.step(ids, places, count)
        assert (found - logits_BTV[range(rows), places]).abs().max() < 4e-6 * largest


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("parts", PARTS, ids=words)
def test_texts_that_are_read_together_are_read_as_the_model_does(parts: dict[str, Any], count: int) -> None:
    """Of any lengths, in any rows, in one piece or in several, and written on; some tiles are full, others not."""
    model, generator = model_with(**parts), torch.Generator().manual_seed(1)
    lengths = [1, 5, 20, 7, 13, 20, 2, 11]
    ids_BT = torch.randint(0, model.config.vocab_size, (len(lengths), 24), generator=generator)
    logits_BTV = model(ids_BT)
    largest = logits_BTV.abs().max()
    for begins in ([0] * 8, [0, 2, 19, 3, 4, 7, 1, 0]):
        decoder, rows = LoopDecoder(model, 9), [3, 0, 2, 4, 1, 7, 6, 5]
        for first, last in ((0, 1), (1, 8)):  # one alone, so that few rows are read, and the others together
            some = [text for text in range(first, last) if begins[text]]
            if some:
                heads = [ids_BT[text, : begins[text]].tolist() for text in some]
                decoder.read([rows[text] for text in some], heads, [0] * len(some), count)
            tails = [ids_BT[text, begins[text] : lengths[text]].tolist() for text in range(first, last)]
            found = decoder.read(rows[first:last], tails, begins[first:last], count)
            places = [lengths[text] - 1 for text in range(first, last)]
            assert (found - logits_BTV[range(first, last), places]).abs().max() < 4e-6 * largest
        order = sorted(range(8), key=lambda text: rows[text])
        places = [lengths[text] for text in order]
        found = decoder.step(
            [int(ids_BT[text, place]) for text, place in zip(order, places, strict=True)], places, count
        )
        assert (found - logits_BTV[order, places]).abs().max() < 4e-6 * largest


def test_more_is_read_than_fits_into_a_step() -> None:
    """A border between two steps may be anywhere: within a text, right after one, and before the last token."""
    model = model_with(context_length=MOST_READ + 40)
    generator = torch.Generator().manual_seed(1)
    for lengths in ([MOST_READ + 30, 3], [MOST_READ - 1, 2], [MOST_READ, 1], [30] * 20, [MOST_READ + 1]):
        ids_BT = torch.randint(0, 61, (len(lengths), max(lengths)), generator=generator)
        texts = [ids_BT[row, :length].tolist() for row, length in enumerate(lengths)]
        found = LoopDecoder(model, len(lengths)).read(list(range(len(lengths))), texts, [0] * len(lengths), 2)
        wanted = torch.stack([model(torch.tensor([text]))[0, -1] for text in texts])
        assert (found - wanted).abs().max() < 4e-6 * wanted.abs().max()


def with_halves(model: GPT, ids_BT: Tensor) -> Iterator[tuple[KVCache, Tensor]]:
    """Yield, at each place, the cache of earlier tokens, in numbers that float16 holds, and the logits (B, V)."""
    cache = model.new_cache(len(ids_BT))
    for place in range(ids_BT.shape[1]):
        for numbers in (cache.keys_LBKSD, cache.values_LBKSD):
            numbers.copy_(numbers.clamp(-65504, 65504).half())
        before = copy.deepcopy(cache)
        yield before, model(ids_BT[:, place : place + 1], cache)[:, 0]


def assert_same_but_for_ties(found: Tensor, wanted: Tensor, largest: Tensor) -> None:
    """Where the rounding of float32 decides how a key is rounded to float16, it differs by 2^-11 of itself."""
    error = (found - wanted).abs()
    assert error.quantile(0.5) < 2e-6 * largest
    assert error.max() < 2e-4 * largest


@pytest.mark.parametrize("store", [quantize, halve])
def test_stored_weights_read_and_write_the_same(store: Any) -> None:
    model = store(model_with(**GPT2))
    ids_BT = torch.randint(0, 61, (MANY, 21), generator=torch.Generator().manual_seed(1))
    decoder = LoopDecoder(model, MANY)
    wanted_BTV = model(ids_BT)
    if HAS_HALVES:
        wanted_BTV = torch.stack([logits_BV for _, logits_BV in with_halves(model, ids_BT)], 1)
    largest = wanted_BTV.abs().max()
    found = decoder.read(list(range(MANY)), ids_BT[:, :20].tolist(), [0] * MANY, 2)
    assert_same_but_for_ties(found, wanted_BTV[:, -2], largest)
    found = decoder.step(ids_BT[:, 20].tolist(), [20] * MANY, 2)
    assert_same_but_for_ties(found, wanted_BTV[:, -1], largest)


@pytest.mark.skipif(not HAS_HALVES, reason="this processor has no instruction for float16")
def test_stored_weights_keep_a_cache_of_half_the_size() -> None:
    exact, stored = LoopDecoder(model_with(), 3), LoopDecoder(halve(model_with()), 3)
    assert exact._keys.nbytes == 2 * stored._keys.nbytes
    assert exact._values.nbytes == 2 * stored._values.nbytes


@pytest.mark.skipif(not HAS_HALVES, reason="this processor has no instruction for float16")
@pytest.mark.parametrize("by", ["reading", "writing", "torch"])
def test_keys_and_values_beyond_float16_are_its_largest(by: str) -> None:
    """Infinity would make every later score NaN."""
    model = model_with(qk_norm=False, qkv_bias=True)
    bias = model.blocks[0].get_submodule("attention").qkv.bias
    bias[32 : 32 + 3] = torch.tensor([2e5, -3e5, 7e4])  # some keys and values of the first head
    bias[64 : 64 + 3] = torch.tensor([3e5, -1e5, 7e4])
    model = halve(model)
    ids_T = torch.randint(0, 61, (9,), generator=torch.Generator().manual_seed(1))
    *_, (_, (wanted_V,)) = with_halves(model, ids_T[None])
    assert wanted_V.isfinite().all()
    decoder, text = LoopDecoder(model, 1), ids_T.tolist()
    if by == "reading":
        found = decoder.read([0], [text], [0], 1)
    else:
        if by == "torch":
            put(decoder, [text[:8]])
        else:
            for place in range(8):
                decoder.step([text[place]], [place], 1)
        found = decoder.step([text[8]], [8], 1)
    # What torch reads sees exact keys of earlier tokens, in the prompt itself.
    assert (found[0] - wanted_V).abs().max() < (0.3 if by == "torch" else 2e-5) * wanted_V.abs().max()


@pytest.mark.parametrize("parts", PARTS[:3], ids=words)
def test_a_cache_in_float16_writes_nearly_the_same(parts: dict[str, Any]) -> None:
    """Within the rounding of float16, 2^-11 of each number."""
    model = halve(model_with(**parts))
    ids_BT = torch.randint(0, 61, (MANY, 24), generator=torch.Generator().manual_seed(1))
    wanted_BTV = model(ids_BT)
    found = LoopDecoder(model, MANY).read(list(range(MANY)), ids_BT.tolist(), [0] * MANY, 2)
    assert (found - wanted_BTV[:, -1]).abs().max() < 2e-3 * wanted_BTV.abs().max()


@pytest.mark.parametrize("form", ["as-saved", "bfloat16"])
def test_a_row_is_taken_moved_and_kept_when_the_cache_grows(form: Form) -> None:
    model = store(model_with(context_length=3 * WIDE + 70), form)
    generator = torch.Generator().manual_seed(1)
    ids_T = torch.randint(0, 61, (3 * WIDE + 70,), generator=generator).tolist()
    wanted = model(torch.tensor([ids_T]))[0]
    for length in (1, WIDE - 1, WIDE, WIDE + 1, 63, 64, 65):
        decoder, reading = LoopDecoder(model, 2), Reading(model, [ids_T[:length]])
        reading.read()
        decoder.put([1], reading.cache, [0])
        taken = decoder.take(1, length)
        rounding = 2**-11 if decoder._keys.itemsize == 2 else 0.0
        torch.testing.assert_close(taken.keys_LBKSD, reading.cache.keys_LBKSD, rtol=rounding, atol=1e-6)
        torch.testing.assert_close(taken.values_LBKSD, reading.cache.values_LBKSD, rtol=rounding, atol=1e-6)
        decoder.grow(5)
        decoder.move(1, 0, length)
        for place in range(length, length + 4):
            found = decoder.step([ids_T[place]], [place], 1)[0]
            allowed = 4e-3 if rounding else 4e-6
            assert (found - wanted[place]).abs().max() < allowed * wanted.abs().max()


def widened(model: GPT, exact: GPT) -> GPT:
    """Return a float32 model with the weights that the stored ones stand for."""
    exact.head = exact.head or nn.Linear(exact.config.n_embd, exact.config.vocab_size, bias=False)
    for name, module in model.named_modules():
        if isinstance(module, StoredLinear):
            scale = 1 if module.scale_N is None else module.scale_N[:, None]
            matrix = module.matrix_NC.float() * scale
            exact.get_submodule(name).weight = nn.Parameter(matrix, requires_grad=False)
    return exact


@pytest.mark.parametrize("halves", [False, HAS_HALVES])
@pytest.mark.parametrize(("rows", "count"), [(1, 1), (5, 3), (MANY, 2)])
@pytest.mark.parametrize("store", [quantize, halve])
@pytest.mark.parametrize("parts", PARTS, ids=words)
def test_stored_weights_are_those_of_the_widened_model(
    parts: dict[str, Any], store: Any, rows: int, count: int, halves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is rounded but keys and values: neither the inputs nor what torch reads."""
    monkeypatch.setattr(loop_engine, "HAS_HALVES", halves)
    model, generator = store(model_with(**parts)), torch.Generator().manual_seed(1)
    ids_BT = torch.randint(0, model.config.vocab_size, (rows, 24), generator=generator)
    logits_BTV = widened(model, model_with(**parts))(ids_BT)
    largest = logits_BTV.abs().max()
    assert (model(ids_BT) - logits_BTV).abs().max() < 4e-6 * largest
    assert (model_with(**parts)(ids_BT) - logits_BTV).abs().max() > 1e-3 * largest
    decoder, all_rows = LoopDecoder(model, rows), list(range(rows))
    for place, (rounded, wanted_BV) in enumerate(with_halves(model, ids_BT)):
        if halves:
            decoder.put(all_rows, rounded, all_rows)
        found = decoder.step(ids_BT[:, place].tolist(), [place] * rows, count)
        wanted_BV = wanted_BV if halves else logits_BTV[:, place]
        assert (found - wanted_BV).abs().max() < 4e-6 * largest


@pytest.mark.parametrize("parts", [{}, GPT2, {"attention": "sliding", "window": 5}], ids=words)
def test_greedy_ids_are_equal_far_past_the_context(parts: dict[str, Any]) -> None:
    model = model_with(**parts)
    found = {}
    for engine in ("torch", "loops"):
        ids = generate_ids(model, [1, 2, 3], GREEDY, engine=engine)
        found[engine] = [next(ids)[0] for _ in range(500)]
    assert len(set(found["torch"])) > 3
    assert found["loops"] == found["torch"]


def test_weights_that_change_in_place_write_and_replaced_ones_too() -> None:
    model = model_with(qkv_bias=True)
    ids = generate_ids(model, [1], GREEDY, engine="loops")
    text = [1] + [next(ids)[0] for _ in range(3)]
    model.blocks[0].get_submodule("mlp").get_parameter("up.weight").mul_(-1.5)
    text += [next(ids)[0] for _ in range(3)]
    # What was cached before stays, as with torch, so only the weights of later layers can be compared exactly.
    model.blocks[1].get_submodule("attention").qkv = nn.Linear(32, 96)
    model.requires_grad_(False)
    after = next(ids)[0]
    assert after == int(model(torch.tensor([text]))[0, -1].argmax())  # read again, with the new weights


def test_a_model_that_is_looked_into_is_written_by_torch() -> None:
    model, seen = model_with(), []
    ids = generate_ids(model, [1], GREEDY, engine="loops")
    plain = [next(ids)[0] for _ in range(12)]
    ids = generate_ids(model, [1], GREEDY, engine="loops")
    begun = [next(ids)[0] for _ in range(4)]
    with looking(model, "blocks.0.mlp", see=lambda name, value: seen.append(name)):
        begun += [next(ids)[0] for _ in range(4)]
    begun += [next(ids)[0] for _ in range(4)]
    assert len(seen) >= 4
    assert begun == plain


def test_broken_weights_are_told() -> None:
    model = model_with()
    model.blocks[0].get_submodule("mlp").get_parameter("up.weight")[3, 3] = float("nan")
    ids = generate_ids(model, [1], GREEDY, engine="loops")
    with pytest.raises(ModelError, match="not finite"):
        next(ids)
    decoder = LoopDecoder(model, 1)
    assert decoder.step([1], [0], 1).isnan().all()


def test_parts_that_the_loops_do_not_have_are_named() -> None:
    assert why_not(model_with()) is None
    other = model_with()
    other.config = ModelConfig(**SMALL)
    object.__setattr__(other.config, "activation", "mine")
    assert why_not(other) == "activation 'mine'"
    assert "float64" in str(why_not(model_with().double()))
    other = model_with()
    other.blocks[1].get_submodule("mlp").up = nn.utils.parametrizations.weight_norm(nn.Linear(32, 88))
    assert "blocks.1.mlp.up" in str(why_not(other))
    for form in ("int8", "bfloat16"):
        other = store(model_with(), form)
        assert why_not(other) is None
        other.blocks[1].get_submodule("mlp").up = nn.Linear(32, 88)
        assert why_not(other) in (f"matrices in {form} and float32", f"matrices in float32 and {form}")
    assert "float64" in str(why_not(halve(model_with().double())))
    assert "bfloat16" in str(why_not(model_with().bfloat16()))
    assert "float64" in str(why_not(quantize(model_with().double())))
    other = model_with()
    with using(other, "explicit"):
        assert "form of attention" in str(why_not(other))
    assert why_not(other) is None


def test_every_part_of_the_project_is_in_the_loops() -> None:
    """A new one has to be written there, too, or the model is handed to torch."""
    from glassgpt.model.parts import ACTIVATIONS as ALL_ACTIVATIONS
    from glassgpt.model.parts import NORMS as ALL_NORMS

    assert set(ACTIVATIONS) == set(ALL_ACTIVATIONS)
    assert set(NORMS) == set(ALL_NORMS)


def test_functions_that_are_approximated_are_exact_in_float32() -> None:
    from glassgpt.generation import loops

    x = np.linspace(-80, 80, 20001, dtype=np.float32)
    found = np.array([loops.exp(value) for value in x])
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=3e-7)
    y = np.linspace(-6, 6, 6001, dtype=np.float32)
    found = np.array([loops.erf(value) for value in y])
    np.testing.assert_allclose(found, torch.erf(torch.from_numpy(y).double()).numpy(), atol=3e-7)


def test_several_threads_of_a_program_write_at_the_same_time(threads: Any) -> None:
    """Each with helpers: they share the crew, and must not wait for each other's gates."""
    threads(2)
    model, found = model_with(), []

    def write() -> None:
        decoder = LoopDecoder(model, 1)
        put(decoder, [[1]])
        found.append([decoder.step([2], [place], 2).clone() for place in range(1, 20)])

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert len(found) == 4
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("pause", [0.0, 0.02], ids=["helpers still look", "helpers sleep"])
def test_helpers_take_the_steps_of_several_decoders_in_any_order(threads: int, pause: float) -> None:
    """They go on with the arrays of one, are sent to those of another, go to sleep, and count others as well."""
    model, ids = model_with(), [1] * MANY
    alone, *others = (LoopDecoder(model, MANY) for _ in range(3))
    expected = [alone.step(ids, [place] * MANY, 1).clone() for place in range(20)]
    order = random.Random(5)
    places = {0: 0, 1: 0}
    while any(place < 20 for place in places.values()):
        which = order.choice([one for one, place in places.items() if place < 20])
        for _ in range(order.choice([1, 2, 5])):
            if (place := places[which]) < 20:
                found = others[which].step(ids, [place] * MANY, threads)
                torch.testing.assert_close(found, expected[place])
                places[which] += 1
        time.sleep(order.choice([0.0, pause]))


def test_writers_with_three_threads_each_do_not_wait_for_each_other() -> None:
    """Two helpers that took the steps of two writers in different orders would wait at two gates for ever."""
    model, ended = model_with(), []

    def write() -> None:
        decoder = LoopDecoder(model, 1)
        for place in range(5_000):
            decoder.step([1], [place % 20], 3)
        ended.append(True)

    writers = [threading.Thread(target=write, daemon=True) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert len(ended) == 3


def test_a_cache_is_not_held_when_its_text_is_done() -> None:
    decoder = LoopDecoder(model_with(), 1)
    keys = weakref.ref(decoder._keys.base)
    decoder.step([1], [0], 2)
    del decoder
    until = time.monotonic() + 10
    while keys() is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert keys() is None


def test_a_decoder_may_go_while_a_helper_still_looks_at_its_gate() -> None:
    """The gate was passed as an address; a helper that read there after it was freed waited for ever."""
    model, done = model_with(), threading.Event()

    def write() -> None:
        for _ in range(300):
            decoder = LoopDecoder(model, 1)
            decoder.step([1], [0], 2)
            assert any(part is decoder._gate for part in decoder._arguments)  # the helper holds it, too
            del decoder
            [np.zeros(1, np.int64) for _ in range(20)]  # takes the freed memory
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert done.wait(60)


def test_the_step_is_compiled_once_for_all_models() -> None:
    """And once more for a cache in float16. Another signature would be compiled in the middle of a text."""
    loop_engine.compile_step()
    assert loop_engine.is_compiled()
    assert [len(function.signatures) for function, _ in COMPILED] == [count for _, count in COMPILED]
    for parts, form in product(PARTS, FORMS):
        decoder = LoopDecoder(store(model_with(**parts), form), MANY)
        decoder.read([0, 1], [[1, 2], [3]], [0, 0], 1)
        decoder.read(list(range(MANY)), [[1]] * MANY, [0] * MANY, 1)
        for rows in (MANY, 2, 1):
            for threads in (1, 2):
                decoder.step([1] * rows, [1] * rows, threads)
    assert [len(function.signatures) for function, _ in COMPILED] == [count for _, count in COMPILED]

"""A batch of texts of any lengths: each row writes what it would write alone, and a finished row is removed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import GenerationError
from glassgpt.generation.engine import generate_batch
from glassgpt.generation.requests import Request
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.scheduler import Scheduler
from glassgpt.model.gpt import GPT

GREEDY = SamplingConfig(temperature=0)
PARTS = (
    {"positions": "learned", "norm": "layernorm", "activation": "gelu_tanh", "qk_norm": False},
    {"positions": "sinusoidal", "tied_head": False},
    {"positions": "rotary", "n_kv_head": 1},
    {"positions": "none", "attention": "sliding", "window": 4},
    {"positions": "rotary", "attention": "strided", "window": 2, "stride": 3},
)


def write(model: GPT, prompts: list[list[int]], config: SamplingConfig = GREEDY, **more) -> list[list[int]]:
    """The continuation of each prompt."""
    written: list[list[int]] = [[] for _ in prompts]
    for step in generate_batch(model, prompts, config, **{"max_tokens": 30, **more}):
        for row, id in step:
            written[row].append(id)
    return written


@pytest.mark.parametrize("parts", PARTS)
def test_rows_of_all_lengths_write_the_same_as_alone(make, plainly, parts):
    model = make(**parts)
    prompts = [[index * 7 % 31 for index in range(length)] for length in (1, 3, 3, 9, 12, 13, 20)]
    expected = [plainly(model, prompt, 30) for prompt in prompts]
    assert write(model, prompts) == expected
    assert write(model, prompts, use_cache=False) == expected


@settings(max_examples=25)
@given(
    prompts=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=15), min_size=1, max_size=5),
    stops=st.sets(st.integers(0, 30), max_size=12),
)
def test_a_row_ends_with_its_first_stop_id_and_the_others_go_on(make, plainly, prompts, stops):
    model = make()
    for prompt, ids in zip(prompts, write(model, prompts, stop_ids=stops), strict=True):
        alone = plainly(model, prompt, 30)
        end = next((place for place, id in enumerate(alone, start=1) if id in stops), 30)
        assert ids == alone[:end]


def test_what_a_row_draws_does_not_depend_on_which_others_are_over(make):
    model, sampling = make(), SamplingConfig(temperature=1.5, repetition_penalty=1.2)
    prompts = [[1], [2, 3], [4, 5, 6]]
    together = write(model, prompts, sampling, seed=5)
    assert together == write(model, prompts, sampling, seed=5)
    assert together != write(model, prompts, sampling, seed=6)
    stops = {together[0][4]}
    for whole, cut in zip(together, write(model, prompts, sampling, seed=5, stop_ids=stops), strict=True):
        assert cut == whole[: len(cut)]
        assert len(cut) == 30 or cut[-1] in stops


def test_no_work_is_done_for_a_row_that_is_over(make):
    model, seen = make(), []
    model.final_norm.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    scheduler = Scheduler(model)
    for prompt in ([1], [2], [3, 4]):
        scheduler.add(Request(prompt, GREEDY))
    scheduler.step()
    left = {0, 1, 2}
    for row in (0, 2):
        seen.clear()
        scheduler.cancel(row)
        left.remove(row)
        assert {written.number for written in scheduler.step()} == left
        assert seen == [len(left)]


def test_equal_prompts_are_computed_once(make):
    model, seen = make(), []
    model.final_norm.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[:2]))
    next(generate_batch(model, [[1, 2], [1, 2], [3, 4], [5]], GREEDY, max_tokens=1))
    assert seen == [(2, 2), (1, 1)]


def test_weights_that_change_or_are_replaced_write(make, plainly):
    model = make()
    first = write(model, [[1, 2]], max_tokens=400)
    assert first == [plainly(model, [1, 2], 400)]
    with torch.no_grad():
        model.blocks[0].mlp.down.weight.mul_(-1)  # in place, as an optimizer does
    assert write(model, [[1, 2]]) == [plainly(model, [1, 2], 30)] != [first[0][:30]]
    model.load_state_dict(make(seed=9).state_dict(), assign=True)
    assert write(model, [[1, 2]]) == [plainly(model, [1, 2], 30)]


def test_the_number_of_threads_comes_back(make):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        write(make(), [[1]], max_tokens=3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_empty_prompt_among_others_is_refused(make):
    with pytest.raises(GenerationError, match="The prompt has no tokens"):
        write(make(), [[1], []])

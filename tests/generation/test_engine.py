"""Ids in, ids out: the same with and without the cache, for any length of text, and the same as `transformers`."""

from __future__ import annotations

import itertools
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.errors import GenerationError, ModelError
from glassgpt.generation.engine import generate_ids
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.window import window_start
from glassgpt.model.gpt import GPT

os.environ.setdefault("HF_HUB_OFFLINE", "1")

POSITIONS = ("learned", "sinusoidal", "rotary", "none")
REACHES = ({}, {"attention": "sliding", "window": 4}, {"attention": "strided", "window": 2, "stride": 3})
GREEDY = SamplingConfig(temperature=0)


def take(model: GPT, prompt: list[int], n: int, config: SamplingConfig = GREEDY, **more) -> list[list[int]]:
    """The ids of `n` steps, one list per row."""
    steps = list(itertools.islice(generate_ids(model, prompt, config, **more), n))
    return [list(row) for row in zip(*steps, strict=True)]


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("reach", REACHES, ids=lambda reach: reach.get("attention", "full"))
def test_the_cache_changes_nothing_far_past_the_window(make, plainly, positions, reach):
    model = make(positions=positions, **reach)
    prompt = [3, 1, 4, 1, 5]
    expected = plainly(model, prompt, 36)  # three times the context
    assert take(model, prompt, 36) == [expected]
    assert take(model, prompt, 36, use_cache=False) == [expected]
    assert len(set(expected)) > 2  # a model that always says the same would agree with anything


@pytest.mark.parametrize("length", [1, 11, 12, 13, 18, 19, 55])
def test_a_prompt_of_any_length_begins_in_the_right_window(make, plainly, length):
    model = make()
    prompt = [index * 7 % 31 for index in range(length)]
    assert take(model, prompt, 15) == [plainly(model, prompt, 15)]


@pytest.mark.parametrize("context", [1, 2, 3])
def test_the_smallest_contexts_work(make, context):
    model = make(context_length=context)
    assert take(model, [5, 6, 7], 9) == take(model, [5, 6, 7], 9, use_cache=False)


@given(context=st.integers(1, 40), length=st.integers(1, 400))
def test_window_start(context, length):
    start, before = window_start(length, context), window_start(length - 1, context)
    visible = length - start
    assert 1 <= visible <= context
    assert start >= before  # never backwards
    if length <= context:
        assert start == 0
    else:
        assert visible >= context / 2  # half is left after each jump
    if start > before:
        assert length - 1 - before == context  # it only jumps when the window is full


def test_several_greedy_rows_all_equal_the_single_one(make):
    model = make()
    single = take(model, [1, 2], 20)
    assert take(model, [1, 2], 20, count=3) == single * 3


def test_the_seed_decides_the_ids(make):
    model = make()
    sampling = SamplingConfig(temperature=1.5)
    first, again, other = (take(model, [1], 30, sampling, count=2, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first[0] != first[1]  # rows draw on their own
    unseeded = [take(model, [1], 30, sampling) for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_sampling_with_and_without_the_cache_draws_the_same(make):
    model = make()
    sampling = SamplingConfig(temperature=1.2, top_k=9, top_p=0.9, repetition_penalty=1.3)
    with_cache = take(model, [1, 2, 3], 40, sampling, count=3, seed=4)
    assert with_cache == take(model, [1, 2, 3], 40, sampling, count=3, seed=4, use_cache=False)


def test_first_tokens_follow_the_models_distribution(make):
    """2,000 rows against the softmax of the model's own logits: chi-square, 30 degrees of freedom, p = 1e-4."""
    model = make(seed=3)
    with torch.no_grad():
        expected = (model(torch.tensor([[1, 2]]))[0, -1] / 3).softmax(-1) * 2000
    rows = take(model, [1, 2], 1, SamplingConfig(temperature=3.0), count=2000, seed=8)
    counts = torch.tensor(rows).flatten().bincount(minlength=31).double()
    assert expected.min() > 0.1
    assert ((counts - expected) ** 2 / expected).sum() < 70


def test_neither_the_random_state_nor_the_mode_is_disturbed(make):
    model = make(dropout=0.5)
    evaluated = take(model, [1, 2], 20)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    for training in (True, False):
        model.train(training)
        assert take(model, [1, 2], 20) == evaluated  # no dropout while it writes
        take(model, [1, 2], 20, SamplingConfig(), seed=None)
        assert model.training is training
    assert torch.equal(torch.get_rng_state(), before)


def test_the_mode_comes_back_when_the_iterator_is_closed_or_fails(make):
    model = make().train()
    steps = generate_ids(model, [1], GREEDY)
    next(steps)
    assert not model.training
    assert torch.is_grad_enabled()  # the caller's own work between two tokens is not touched
    assert not torch.is_inference_mode_enabled()
    steps.close()
    assert model.training
    with pytest.raises(ModelError, match="outside the model's vocabulary"):
        take(model, [99], 1)
    assert model.training


def test_what_cannot_be_generated_is_refused(make):
    model = make()
    with pytest.raises(GenerationError, match="The prompt has no tokens"):
        take(model, [], 1)
    with pytest.raises(GenerationError, match="count is 0"):
        take(model, [1], 1, count=0)


@pytest.mark.parametrize("sampling", [GREEDY, SamplingConfig()])
def test_broken_weights_are_named_and_not_drawn_from(make, sampling):
    """Greedy generation once took NaN for the likeliest token; sampling ended in an error of torch."""
    model = make()
    model.blocks[0].mlp.down.weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        take(model, [1], 1, sampling)


def test_the_repetition_penalty_knows_the_window_alone(make):
    """With such a strong penalty no token in the window is repeated, so its 12 tokens are all different."""
    model = make()
    ids = [1, *take(model, [1], 40, SamplingConfig(temperature=0, repetition_penalty=1e6))[0]]
    for end in range(1, len(ids)):
        start = window_start(end, 12)
        assert len(set(ids[start : end + 1])) == end + 1 - start
    assert len(set(ids)) < len(ids)  # what has left may come back


def test_greedy_ids_equal_transformers_generate(gpt2_as_ours):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    reference = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=61,
            n_positions=24,
            n_layer=3,
            n_head=4,
            n_embd=32,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            parameter.normal_(std=0.3 if parameter.dim() == 2 else 0.1)
            parameter.add_("ln_" in name and "weight" in name)
    reference = reference.double().eval()
    model = gpt2_as_ours(reference)
    prompts = torch.randint(61, (6, 4))
    theirs = reference.generate(
        prompts, max_new_tokens=20, do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(prompts)
    )
    for prompt, expected in zip(prompts.tolist(), theirs[:, 4:].tolist(), strict=True):
        assert take(model, prompt, 20) == [expected]
    assert len(set(theirs[:, 4:].flatten().tolist())) > 10

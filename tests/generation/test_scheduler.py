"""Requests that join and leave between any two tokens: each writes what it would write alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import GenerationError, ModelError
from glassgpt.generation import reading, scheduler
from glassgpt.generation.engines import Engine, has_numba
from glassgpt.generation.requests import Request, Written
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.scheduler import Scheduler
from glassgpt.model.gpt import GPT

GREEDY = SamplingConfig(temperature=0)
ENGINES = ["torch", pytest.param("loops", marks=pytest.mark.skipif(not has_numba(), reason="needs numba"))]


def finish(writer: Scheduler) -> dict[int, list[Written]]:
    """All events of each request until none is left."""
    events: dict[int, list[Written]] = {}
    while writer.busy:
        for event in writer.step():
            events.setdefault(event.number, []).append(event)
    return events


def ids_of(events: list[Written]) -> list[int]:
    return [event.id for event in events if event.id is not None]


def alone(model: GPT, request: Request, engine: Engine = "torch") -> list[int]:
    """What a request writes with nobody beside it."""
    writer = Scheduler(model, engine=engine)
    writer.add(request)
    return ids_of(finish(writer)[0])


REQUESTS = st.builds(
    Request,
    ids=st.lists(st.integers(0, 30), min_size=1, max_size=30),
    sampling=st.sampled_from(
        [
            GREEDY,
            SamplingConfig(temperature=1.3),
            SamplingConfig(temperature=0.8, top_k=5),
            SamplingConfig(temperature=1.5, top_p=0.8, repetition_penalty=1.3),
            SamplingConfig(temperature=0, repetition_penalty=1.5),
        ]
    ),
    max_tokens=st.integers(1, 25),
    seed=st.integers(0, 2**64 - 1),
    stream=st.integers(0, 3),
    ends=st.frozensets(st.integers(0, 30), max_size=2),
    exclude=st.lists(st.integers(0, 30), max_size=3, unique=True),
    bias=st.dictionaries(st.integers(0, 30), st.floats(-5, 5), max_size=2),
    likeliest=st.none() | st.integers(0, 3),
)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=25, deadline=None)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=7), plan=st.randoms(use_true_random=False))
def test_a_request_writes_the_same_alone_and_in_company(
    make: Any, engine: Engine, requests: list[Request], plan: random.Random
) -> None:
    """Whoever joins, is cancelled or ends beside it, with prompts that are read in pieces and kept beginnings."""
    model = make(n_kv_head=1) if engine == "torch" else make(n_kv_head=1).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", 4)
        patch.setattr(scheduler, "READ_AT_ONCE", 6)
        patch.setattr(scheduler, "WORTH_ASKING", 0)
        expected = [alone(model, request, engine) for request in requests]
        bytes_of_a_text = 12 * Scheduler(model)._token_bytes
        writer = Scheduler(
            model,
            engine=engine,
            memory=plan.choice([bytes_of_a_text, 3 * bytes_of_a_text, 2**30]),
            prefix_memory=plan.choice([0, 2000, 2**20]),
        )
        found: dict[int, list[int]] = {}
        cancelled: set[int] = set()
        ends: dict[int, str] = {}
        left = list(range(len(requests)))
        while left or writer.busy:
            while left and plan.random() < 0.4:
                number = writer.add(requests[left.pop(0)])
                found[number] = []
            if found and plan.random() < 0.1:
                victim = plan.choice(list(found))
                if victim not in ends:
                    writer.cancel(victim)
                    cancelled.add(victim)
            for event in writer.step():
                assert event.number not in cancelled
                assert event.number not in ends
                found[event.number] += [] if event.id is None else [event.id]
                if event.finished:
                    ends[event.number] = event.finished
    for number, ids in found.items():
        whole = expected[number]
        if number in cancelled:
            assert ids == whole[: len(ids)]
        else:
            assert ids == whole
            assert ends[number] == ("end" if whole[-1] in requests[number].ends else "length")


def test_streams_of_a_seed_differ_and_seeds_too(make: Any) -> None:
    model, sampling = make(), SamplingConfig(temperature=2.0)
    written = {
        (seed, stream): tuple(alone(model, Request([1], sampling, max_tokens=20, seed=seed, stream=stream)))
        for seed in (0, 1, 2**32, 2**32 + 1, 2**64 - 1)
        for stream in (0, 1, 2)
    }
    assert len(set(written.values())) == len(written)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_broken_request_harms_no_other(make: Any, engine: Engine) -> None:
    model = make(positions="none").float()
    model.token_embedding.weight.data[7, 3] = float("nan")  # whoever reads token 7 gets nothing but NaN
    model.head = torch.nn.Linear(16, 31)
    writer = Scheduler(model.requires_grad_(False), engine=engine)
    for prompt in ([1, 2], [1, 7], [3]):
        writer.add(Request(prompt, SamplingConfig(), max_tokens=9, seed=1, exclude=[7]))
    events = finish(writer)
    assert [event.finished for event in events[1]] == ["error"]
    assert isinstance(events[1][0].error, ModelError)
    assert "not finite" in str(events[1][0].error)
    for number, prompt in ((0, [1, 2]), (2, [3])):
        whole = Request(prompt, SamplingConfig(), max_tokens=9, seed=1, exclude=[7])
        assert ids_of(events[number]) == alone(model, whole, engine)


def test_a_long_prompt_does_not_stop_those_that_write(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(context_length=64)
    monkeypatch.setattr(reading, "PIECE", 8)
    monkeypatch.setattr(scheduler, "READ_AT_ONCE", 8)
    writer = Scheduler(model)
    first = writer.add(Request([1], GREEDY))
    writer.step()
    late = writer.add(Request([index % 31 for index in range(40)], GREEDY, max_tokens=2))
    steps = [[event.number for event in writer.step()] for _ in range(6)]
    assert steps == [[first]] * 4 + [[first, late]] * 2  # five pieces of eight tokens
    assert writer.active == 1


def test_requests_wait_for_memory_in_their_order(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    monkeypatch.setattr(scheduler, "WORTH_ASKING", 0)
    writer = Scheduler(model, memory=2 * 12 * Scheduler(model)._token_bytes)
    for length in (6, 3, 9, 1, 1):
        writer.add(Request([1, 2], GREEDY, max_tokens=length))
    begun: list[int] = []
    while writer.busy:
        events = writer.step()
        assert len(events) <= 2
        begun += [event.number for event in events if event.number not in begun]
    assert begun == [0, 1, 2, 3, 4]


def test_what_is_cancelled_while_it_waits_or_is_read_says_nothing(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PIECE", 2)
    monkeypatch.setattr(scheduler, "READ_AT_ONCE", 2)
    model = make()
    writer = Scheduler(model)
    writer.add(Request([1], GREEDY))
    writer.step()
    read = [writer.add(Request([1, 2, 3, 4, 5, 6], GREEDY, max_tokens=3)) for _ in range(3)]
    writer.step()
    writer.cancel(read[1])
    writer.cancel(read[1])  # again, and one that never was
    writer.cancel(99)
    waits = writer.add(Request([3], GREEDY))
    writer.cancel(waits)
    writer.cancel(0)
    events = finish(writer)
    expected = alone(model, Request([1, 2, 3, 4, 5, 6], GREEDY, max_tokens=3))
    assert {number: ids_of(written) for number, written in events.items()} == {
        read[0]: expected,
        read[2]: expected,
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_a_beginning_that_is_known_is_not_read_again(make: Any, engine: Engine) -> None:
    model, seen = make(context_length=64).float(), []
    writer = Scheduler(model, engine=engine, prefix_memory=2**20)
    history = [index * 5 % 31 for index in range(20)]
    writer.add(Request(history, GREEDY, max_tokens=6))
    answer = ids_of(finish(writer)[0])
    hook = model.final_norm.register_forward_hook(lambda _, inputs, output: seen.append(output.shape[1]))
    longer = [*history, *answer, 9, 8]  # as a chat goes on
    number = writer.add(Request(longer, GREEDY, max_tokens=4))
    writer.step()
    # All but the newest id of the answer is known, and that is read with the two after it.
    assert seen[0] == 3
    hook.remove()
    events = finish(writer)
    plain = alone(model, Request(longer, GREEDY, max_tokens=4), engine)
    assert ids_of(events[number]) == plain[1:]
    other = writer.add(Request([*history[:10], 30, 30], GREEDY, max_tokens=3))
    assert ids_of(finish(writer)[other]) == alone(
        model, Request([*history[:10], 30, 30], GREEDY, max_tokens=3), engine
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_prompts_are_read_once_and_written_apart(make: Any, engine: Engine) -> None:
    """As GRPO asks for many answers to one question: each has a copy of what was read."""
    model, sampling = make(context_length=64).float(), SamplingConfig(temperature=2.0)
    prompts = [[1, 2, 3, 4, 5, 6], [7, 8], [1, 2, 3, 4, 5, 6], [9, 10, 11], [7, 8], [1, 2, 3, 4, 5, 6]]
    requests = [Request(prompt, sampling, max_tokens=12, seed=seed) for seed, prompt in enumerate(prompts)]
    writer = Scheduler(model, engine=engine)
    numbers = [writer.add(request) for request in requests]
    events = finish(writer)
    found = [ids_of(events[number]) for number in numbers]
    assert found == [alone(model, request, engine) for request in requests]
    assert len({tuple(ids) for ids in found}) == len(found)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_kept_of_prompts_read_together_belongs_to_each(make: Any, engine: Engine) -> None:
    model = make(context_length=64).float()
    writer = Scheduler(model, engine=engine, prefix_memory=2**20)
    prompts = [[(start + index) * 7 % 31 for index in range(12)] for start in (0, 5, 11)]
    for prompt in [*prompts, prompts[1]]:
        writer.add(Request(prompt, GREEDY, max_tokens=1))
    finish(writer)
    for prompt in prompts:
        longer = Request([*prompt, 3, 4], SamplingConfig(temperature=2.0), max_tokens=8, seed=1)
        number = writer.add(longer)
        assert ids_of(finish(writer)[number]) == alone(model, longer, engine)


def test_kept_beginnings_are_bounded(make: Any) -> None:
    model = make(context_length=64)
    limit = 100 * Scheduler(model)._token_bytes
    writer = Scheduler(model, prefix_memory=limit)
    draws = random.Random(0)
    for _ in range(30):
        writer.add(Request([draws.randrange(31) for _ in range(draws.randint(1, 40))], GREEDY, max_tokens=5))
    finish(writer)
    assert writer._prefixes is not None
    assert 0 < writer._prefixes.size <= limit


@pytest.mark.parametrize("engine", ENGINES)
def test_log_probabilities_are_those_of_the_model(make: Any, engine: Engine) -> None:
    """Of the prompt and of what is written: before temperature, bias and truncation."""
    model = make(context_length=32).float()
    writer = Scheduler(model, engine=engine)
    prompt = [1, 2, 3, 4, 5]
    sampling = SamplingConfig(temperature=0.3, top_k=3)
    writer.add(Request(prompt, sampling, max_tokens=8, seed=1, bias={4: 9.0}, likeliest=5, of_prompt=True))
    writer.add(Request(prompt, sampling, max_tokens=8, seed=2))
    writer.add(Request(prompt, likeliest=2, of_prompt=True, max_tokens=0))
    events = finish(writer)
    text = [*prompt, *ids_of(events[0])]
    with torch.no_grad():
        expected = model(torch.tensor([text]))[0].double().log_softmax(-1)
    first, *others = events[0]
    assert first.prompt is not None
    assert first.id is None
    chosen = [*first.prompt, *(event.chosen for event in others)]
    assert [one.id for one in chosen if one is not None] == text
    assert chosen[0] is not None
    assert chosen[0].log_probability is None
    for place, one in enumerate(chosen[1:]):
        assert one is not None
        assert one.log_probability == pytest.approx(float(expected[place, one.id]), abs=2e-5)
        values, ids = expected[place].topk(5)
        assert [id for id, _ in one.likeliest] == ids.tolist()
        assert [value for _, value in one.likeliest] == pytest.approx(values.tolist(), abs=2e-5)
    assert all(event.chosen is None for event in events[1])
    assert [event.finished for event in events[2]] == ["length"]
    assert events[2][0].prompt is not None
    assert [len(one.likeliest) for one in events[2][0].prompt] == [0, 2, 2, 2, 2]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_last_id_of_a_told_prompt_needs_no_place_in_the_context(make: Any, engine: Engine) -> None:
    """It is only predicted, as in an evaluation; what follows it is written as after any prompt of this length."""
    model = make(context_length=12).float()
    prompt = list(range(1, 14))
    writer = Scheduler(model, engine=engine, prefix_memory=10**6)
    for _ in range(2):
        writer.add(Request(prompt, GREEDY, max_tokens=6, likeliest=1, of_prompt=True))
        writer.add(Request(prompt, likeliest=1, of_prompt=True, max_tokens=0))
        writer.add(Request([5, 6], GREEDY, max_tokens=9))
    events = finish(writer)
    with torch.no_grad():
        expected = model(torch.tensor([prompt[:-1]]))[0].double().log_softmax(-1)
    of_ids = expected.gather(1, torch.tensor(prompt[1:])[:, None])[:, 0].tolist()
    for number in (0, 1, 3, 4):
        told = events[number][0].prompt
        assert told is not None
        assert [one.id for one in told] == prompt
        assert [one.log_probability for one in told[1:]] == pytest.approx(of_ids, abs=2e-5)
        assert [len(one.likeliest) for one in told[1:]] == [1] * 12
    for number in (0, 3):
        assert ids_of(events[number]) == alone(model, Request(prompt, GREEDY, max_tokens=6), engine)
    assert [event.finished for event in events[1]] == ["length"]
    assert ids_of(events[2]) == alone(model, Request([5, 6], GREEDY, max_tokens=9), engine)


def test_what_can_never_be_written_is_refused(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Scheduler(make())
    for wrong, message in (
        ({"ids": []}, "no tokens"),
        ({"ids": [1], "max_tokens": -1}, "max_tokens is -1"),
        ({"ids": [1], "max_tokens": 0}, "nothing is asked"),
    ):
        with pytest.raises(GenerationError, match=message):
            Request(**wrong)
    for ids in ([31], [-1], [1, 10**9]):
        with pytest.raises(ModelError, match="outside the model's vocabulary of 31"):
            writer.add(Request(ids, GREEDY))
    with pytest.raises(ModelError, match="outside the model's vocabulary"):
        writer.add(Request([1], GREEDY, bias={40: 1.0}))
    with pytest.raises(GenerationError, match="14 tokens but the last in the model's context, which has 12"):
        writer.add(Request([1] * 14, GREEDY, max_tokens=1, of_prompt=True))
    monkeypatch.setattr(scheduler, "WORTH_ASKING", 0)
    with pytest.raises(GenerationError, match="Write fewer tokens"):
        Scheduler(make(), memory=10).add(Request([1], GREEDY))
    assert not writer.busy
    assert writer.step() == []

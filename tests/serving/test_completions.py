"""`/v1/completions`: the same text as without a server, exact log-probabilities, and streams that join to the whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from glassgpt.generation.text import GenerationConfig
from glassgpt.runs.opening import Run, open_run

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def tales(trained: Path) -> Run:
    return open_run(str(trained / "tales"))


def completed(client: Any, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/completions", json={"model": "tales", "prompt": PROMPT, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(answer: Any) -> list[dict[str, Any]]:
    """What a stream said, without its end."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_the_text_is_that_of_the_run_without_a_server(client: Any, tales: Run) -> None:
    expected = tales.complete(PROMPT, GenerationConfig(max_tokens=20, temperature=0))
    answer = completed(client, max_tokens=20, temperature=0)
    assert [choice["text"] for choice in answer["choices"]] == expected
    assert answer["object"] == "text_completion"
    assert answer["usage"]["completion_tokens"] == 20
    assert answer["usage"]["prompt_tokens"] == len(tales.tokenizer.encode(PROMPT))


def test_a_seed_repeats_and_its_choices_differ(client: Any) -> None:
    first, second = (completed(client, seed=3, n=3, max_tokens=12)["choices"] for _ in range(2))
    assert first == second
    assert len({choice["text"] for choice in first}) == 3
    assert completed(client, seed=-3, max_tokens=12) != completed(client, seed=4, max_tokens=12)


def test_the_default_is_sixteen_tokens(client: Any) -> None:
    assert completed(client, temperature=0)["usage"]["completion_tokens"] == 16


def test_prompts_may_be_texts_or_ids_or_several(client: Any, tales: Run) -> None:
    ids = tales.tokenizer.encode(PROMPT)
    same = [
        completed(client, prompt=prompt, max_tokens=8, temperature=0, logprobs=1, echo=True)["choices"]
        for prompt in (PROMPT, [PROMPT], ids, [ids])
    ]
    assert same[0] == same[1] == same[2] == same[3]
    several = completed(client, prompt=[PROMPT, "A cat"], n=2, max_tokens=4, temperature=0)["choices"]
    assert [choice["index"] for choice in several] == [0, 1, 2, 3]
    assert (
        several[0]["text"]
        == several[1]["text"]
        == completed(client, max_tokens=4, temperature=0)["choices"][0]["text"]
    )


def test_ids_that_begin_as_texts_do_are_left_as_they_are(client: Any, tales: Run) -> None:
    ids = tales.prompt_ids(PROMPT)
    answer = completed(client, prompt=ids, max_tokens=1, temperature=0, logprobs=0, echo=True)
    assert answer["usage"]["prompt_tokens"] == len(ids)
    assert answer["choices"][0]["logprobs"]["tokens"][0] == "<|endoftext|>"
    assert answer["choices"][0]["logprobs"]["text_offset"][:2] == [0, len("<|endoftext|>")]
    as_text = completed(
        client, prompt=f"<|endoftext|>{PROMPT}", max_tokens=1, temperature=0, logprobs=0, echo=True
    )
    assert as_text["choices"] == answer["choices"]
    assert as_text["usage"] == answer["usage"]


def test_a_prompt_that_is_told_may_be_a_window_within_a_text(client: Any, tales: Run) -> None:
    """Its last token is only predicted, so that one more than the context fits; then nothing is put before it."""
    context = tales.model.config.context_length
    ids = (tales.tokenizer.encode(PROMPT) * context)[: context + 1]
    with torch.inference_mode():
        of_all = tales.model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
    expected = of_all.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
    found = completed(client, prompt=ids, max_tokens=1, temperature=0, logprobs=1, echo=True)["choices"][0][
        "logprobs"
    ]
    assert found["token_logprobs"][1:-1] == pytest.approx(expected, abs=1e-4)
    only = completed(client, prompt=ids, max_tokens=0, logprobs=1, echo=True)["choices"][0]["logprobs"]
    assert only["token_logprobs"] == found["token_logprobs"][:-1]
    for prompt, more in ((ids, {}), ([*ids, 5], {"logprobs": 1, "echo": True})):
        body = {"model": "tales", "prompt": prompt, "max_tokens": 1, **more}
        error = client.post("/v1/completions", json=body).json()["error"]
        assert error["code"] == "context_length_exceeded"


@pytest.mark.parametrize("echo", [False, True])
def test_an_empty_prompt_begins_a_document(client: Any, tales: Run, echo: bool) -> None:
    expected = tales.complete("", GenerationConfig(max_tokens=6, temperature=0))
    answer = completed(client, prompt="", max_tokens=6, temperature=0, echo=echo, logprobs=0)
    assert [choice["text"] for choice in answer["choices"]] == expected
    assert answer["usage"]["prompt_tokens"] == 0
    assert len(answer["choices"][0]["logprobs"]["tokens"]) == 6


def test_an_empty_prompt_begins_a_line_where_there_are_no_documents(client: Any, trained: Path) -> None:
    expected = open_run(str(trained / "letters")).complete("", GenerationConfig(max_tokens=6, temperature=0))
    answer = completed(client, model="letters", prompt="", max_tokens=6, temperature=0)
    assert [choice["text"] for choice in answer["choices"]] == expected


def test_echo_has_an_exact_log_probability_for_each_token(client: Any, tales: Run) -> None:
    """As many entries as tokens of the prompt and new ones, the first null, the others those of the model."""
    answer = completed(client, max_tokens=5, temperature=0, logprobs=3, echo=True)
    found, usage = answer["choices"][0]["logprobs"], answer["usage"]
    assert len(found["token_logprobs"]) == usage["prompt_tokens"] + usage["completion_tokens"]
    assert {len(entries) for entries in found.values()} == {len(found["token_logprobs"])}
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None

    text = answer["choices"][0]["text"]
    assert text.startswith(PROMPT)
    ids = tales.prompt_ids(text)
    with torch.inference_mode():
        of_all = tales.model(torch.tensor([ids]))[0].log_softmax(-1)
    expected = of_all[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
    assert found["token_logprobs"][1:] == pytest.approx(expected[1:], abs=1e-5)
    likeliest = of_all[1:-1].topk(3).values.tolist()
    assert [list(top.values())[:3] for top in found["top_logprobs"][1:]] == [
        pytest.approx(values, abs=1e-5) for values in likeliest
    ]


def test_offsets_lead_to_the_tokens(client: Any) -> None:
    choice = completed(client, max_tokens=5, temperature=0, logprobs=0, echo=True)["choices"][0]
    found = choice["logprobs"]
    for token, offset in zip(found["tokens"], found["text_offset"], strict=True):
        assert choice["text"][offset:].startswith(token)


def test_the_chosen_token_is_among_the_likeliest_even_if_it_is_not(client: Any) -> None:
    found = completed(client, max_tokens=8, seed=1, logprobs=1)["choices"][0]["logprobs"]
    for token, log_probability, top in zip(
        found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True
    ):
        assert top[token] == log_probability
        assert max(top.values()) >= log_probability


def test_no_tokens_are_written_where_none_are_asked_for(client: Any) -> None:
    answer = completed(client, max_tokens=0, echo=True, logprobs=1)
    assert answer["choices"][0]["text"] == PROMPT
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 0
    assert len(answer["choices"][0]["logprobs"]["tokens"]) == answer["usage"]["prompt_tokens"]
    bare = completed(client, max_tokens=0, logprobs=1)["choices"][0]
    assert (bare["text"], bare["logprobs"]["tokens"]) == ("", [])


def test_a_stop_ends_the_text_before_it(client: Any) -> None:
    whole = completed(client, max_tokens=20, seed=5)["choices"][0]["text"]
    stop = whole[6:9]
    answer = completed(client, max_tokens=20, seed=5, stop=stop)["choices"][0]
    assert (answer["text"], answer["finish_reason"]) == (whole[: whole.index(stop)], "stop")
    several = completed(client, max_tokens=20, seed=5, stop=["never there", stop, ""])["choices"][0]
    assert several["text"] == answer["text"]


def test_the_end_of_a_document_counts_as_a_token(client: Any, tales: Run) -> None:
    """Clients cut one entry off for one token asked for; an end without an entry would cut a token of the prompt."""
    end = str(tales.tokenizer.end_of_text)
    answer = completed(client, max_tokens=1, logit_bias={end: 100}, echo=True, logprobs=1)
    choice, usage = answer["choices"][0], answer["usage"]
    assert choice["finish_reason"] == "stop"
    assert choice["text"] == PROMPT
    assert choice["logprobs"]["tokens"][-1] == "<|endoftext|>"
    assert len(choice["logprobs"]["tokens"]) == usage["prompt_tokens"] + 1


def test_a_bias_decides_and_a_log_probability_is_that_of_the_model(client: Any, tales: Run) -> None:
    wanted = tales.tokenizer.encode("z")[0]
    answer = completed(client, max_tokens=3, logit_bias={str(wanted): 100}, logprobs=0)["choices"][0]
    assert answer["text"] == "zzz"
    assert max(answer["logprobs"]["token_logprobs"]) < -1


@pytest.mark.parametrize(
    "choice",
    [{"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1}, {"top_k": 1, "temperature": 5}],
)
def test_each_way_to_take_the_likeliest_does(client: Any, choice: dict[str, Any]) -> None:
    greedy = completed(client, temperature=0, max_tokens=10)["choices"][0]["text"]
    assert completed(client, max_tokens=10, **choice)["choices"][0]["text"] == greedy


def test_a_text_goes_on_beyond_the_context(client: Any, tales: Run) -> None:
    expected = tales.complete(PROMPT, GenerationConfig(max_tokens=100, temperature=0))
    answer = completed(client, max_tokens=100, temperature=0)
    assert answer["choices"][0]["text"] == expected[0]
    assert answer["usage"]["completion_tokens"] == 100 > tales.model.config.context_length


@pytest.mark.parametrize(
    "more", [{}, {"echo": True}, {"logprobs": 2, "echo": True}, {"n": 3}, {"max_tokens": 0}]
)
def test_a_stream_joins_to_the_whole(client: Any, more: dict[str, Any]) -> None:
    body = {"model": "tales", "prompt": PROMPT, "max_tokens": 24, "seed": 9, "stop": ["zq"], **more}
    whole = completed(client, **body)
    with_usage = {"stream": True, "stream_options": {"include_usage": True}}
    told = events(client.post("/v1/completions", json=body | with_usage))
    assert told[-1]["choices"] == []
    assert told[-1]["usage"] == whole["usage"]
    assert all(event["usage"] is None for event in told[:-1])
    assert len({event["id"] for event in told}) == 1
    for choice in whole["choices"]:
        parts = [each for event in told for each in event["choices"] if each["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        if choice["logprobs"]:
            for name, entries in choice["logprobs"].items():
                streamed = [entry for part in parts for entry in part["logprobs"][name]]
                # The compiled loops may take over from torch between the two requests, which round differently.
                assert streamed == [_near(entry) for entry in entries]


def _near(entry: Any) -> Any:
    """Numbers within rounding, anything else as it is."""
    if isinstance(entry, dict):
        return pytest.approx(entry, abs=1e-5)
    return pytest.approx(entry, abs=1e-5) if isinstance(entry, float) else entry


def test_a_stream_has_no_usage_unless_it_is_wanted(client: Any) -> None:
    body = {"model": "tales", "prompt": PROMPT, "max_tokens": 3, "stream": True, "stream_options": None}
    told = events(client.post("/v1/completions", json=body))
    assert all("usage" not in event and event["choices"] for event in told)


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029", "\x0b", "\x1e"])
def test_an_event_is_one_line_for_every_client(client: Any, character: str) -> None:
    """`httpx` ends a line at each of these: an echoed prompt that had one was cut in the middle of its event."""
    body = {"model": "tales", "prompt": f"A{character}cat", "max_tokens": 1, "stream": True, "echo": True}
    answer = client.post("/v1/completions", json=body)
    assert [line for line in answer.iter_lines() if line] == answer.text.split("\n\n")[:-1]
    assert events(answer)[0]["choices"][0]["text"].startswith(f"A{character}cat")


def test_the_fingerprint_is_that_of_the_weights(client: Any, tales: Run) -> None:
    assert completed(client)["system_fingerprint"] == f"fp_{str(tales.lineage.weights_hash)[:10]}"

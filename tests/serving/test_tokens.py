"""`/tokenize`, `/detokenize`, `/tokenizer_info`, `/v1/embeddings`, and how tokens are told."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from glassgpt.runs.opening import Run, open_run
from glassgpt.serving.embeddings import TOKENS_AT_ONCE, mean_hidden
from glassgpt.serving.prompts import prompt_of
from glassgpt.serving.tokens import LOWEST, token_text, told


@pytest.fixture(scope="module")
def tales(trained: Path) -> Run:
    return open_run(str(trained / "tales"))


def answered(client: Any, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json={"model": "tales", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("text", ["Once upon a time", "", "é 你 🙂", "a <|endoftext|> b"])
def test_a_text_becomes_ids_and_ids_a_text(client: Any, tales: Run, text: str) -> None:
    bare = answered(client, "/tokenize", prompt=text, add_special_tokens=False)
    assert bare["tokens"] == tales.tokenizer.encode(text)
    assert bare["count"] == len(bare["tokens"])
    begun = answered(client, "/tokenize", prompt=text)
    assert begun["tokens"] == tales.prompt_ids(text)
    assert begun["max_model_len"] == tales.model.config.context_length
    assert answered(client, "/detokenize", tokens=bare["tokens"]) == {"prompt": text}
    assert answered(client, "/detokenize", tokens=begun["tokens"]) == {"prompt": f"<|endoftext|>{text}"}


def test_the_name_of_a_special_token_alone_is_that_token(client: Any, tales: Run) -> None:
    """Evaluation programs look up the ids of the names that `/tokenizer_info` tells."""
    info = client.get("/tokenizer_info", params={"model": "tales"}).json()
    for name in (info["bos_token"], info["eos_token"]):
        assert answered(client, "/tokenize", prompt=name)["tokens"] == [tales.tokenizer.end_of_text]
    assert info["chat_template"] is None
    assert (
        "### Response" in client.get("/tokenizer_info", params={"model": "answers"}).json()["chat_template"]
    )
    assert client.get("/tokenizer_info", params={"model": "letters"}).json()["bos_token"] == "\n"


def test_a_chat_becomes_the_ids_that_the_model_reads(client: Any) -> None:
    found = answered(
        client,
        "/tokenize",
        model="answers",
        messages=[{"role": "user", "content": "Hi"}],
        return_token_strs=True,
    )
    assert "".join(found["token_strs"]) == "### Instruction:\nHi\n\n### Response:\n"


def test_ids_that_are_not_in_the_vocabulary_are_refused(client: Any, tales: Run) -> None:
    for id in (-1, tales.tokenizer.vocab_size, 10**30):
        answer = client.post("/detokenize", json={"model": "tales", "tokens": [id]})
        assert answer.status_code == 400
        assert str(id) in answer.json()["error"]["message"]


def test_no_two_tokens_are_told_alike(tales: Run) -> None:
    names = [token_text(tales.tokenizer, id) for id in range(tales.tokenizer.vocab_size + 2)]
    assert len(set(names)) == len(names)
    assert "bytes:\\xf0" in names
    assert names[-1] == f"token_id:{tales.tokenizer.vocab_size + 1}"


def test_a_probability_of_0_is_a_number_of_json() -> None:
    assert told(float("-inf")) == LOWEST
    assert told(None) is None
    assert told(-1.5) == -1.5


def test_a_vector_is_the_mean_of_the_hidden_states(client: Any, tales: Run) -> None:
    text = "A cat sat"
    found = answered(client, "/v1/embeddings", input=text)
    with torch.inference_mode():
        hidden = tales.model.hidden(torch.tensor([tales.prompt_ids(text)]))[
            0, 1:
        ]  # without what begins every text
    mean = hidden.mean(0)
    assert found["data"][0]["embedding"] == pytest.approx((mean / mean.norm()).tolist(), abs=1e-5)
    tokens = len(tales.tokenizer.encode(text))
    assert found["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_vectors_are_the_same_alone_and_in_company(client: Any, tales: Run) -> None:
    texts = ["A cat sat", "A", "Once upon a time there was a dog", tales.tokenizer.encode("A dog ran")]
    together = answered(client, "/v1/embeddings", input=texts)["data"]
    assert [one["index"] for one in together] == [0, 1, 2, 3]
    for text, one in zip(texts, together, strict=True):
        alone = answered(client, "/v1/embeddings", input=text)["data"][0]["embedding"]
        assert one["embedding"] == pytest.approx(alone, abs=1e-5)
        assert sum(number * number for number in alone) == pytest.approx(1, abs=1e-5)


def test_more_texts_than_are_read_at_once(client: Any, tales: Run) -> None:
    prompt = prompt_of(tales, "A cat sat")
    count = TOKENS_AT_ONCE // len(prompt.ids) + 3
    found = answered(client, "/v1/embeddings", input=["A cat sat"] * min(count, 1000))["data"]
    expected = mean_hidden(tales.model, [prompt])[0]
    assert found[0]["embedding"] == pytest.approx(expected, abs=1e-5)
    assert found[-1]["embedding"] == pytest.approx(expected, abs=1e-5)


def test_base64_holds_the_same_numbers(client: Any) -> None:
    plain = answered(client, "/v1/embeddings", input="A cat")["data"][0]["embedding"]
    coded = answered(client, "/v1/embeddings", input="A cat", encoding_format="base64")["data"][0][
        "embedding"
    ]
    assert struct.unpack(f"<{len(plain)}f", base64.b64decode(coded)) == pytest.approx(plain)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": "a cat " * 60}, "input"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_what_cannot_be_placed_is_refused(client: Any, body: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/embeddings", json={"model": "tales", **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field

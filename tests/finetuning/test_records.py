"""Records in every known form become the same turns; what is no record is told with its place and its fields."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from glassgpt.errors import CorpusError
from glassgpt.finetuning.labelled import read_labelled
from glassgpt.finetuning.records import (
    Message,
    messages_of,
    read_conversations,
    read_preferences,
    read_prompts,
    read_records,
)

ASKED, ANSWER = Message("user", "Why is it wet?"), Message("assistant", "It rained.")


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "Why is it wet?", "input": "", "output": "It rained."},
        {
            "messages": [
                {"role": "user", "content": "Why is it wet?"},
                {"role": "assistant", "content": "It rained."},
            ]
        },
        {
            "conversations": [
                {"from": "human", "value": "Why is it wet?"},
                {"from": "gpt", "value": "It rained."},
            ]
        },
        {"prompt": "Why is it wet?", "completion": "It rained."},
        {"prompt": "Why is it wet?", "response": "It rained."},
        {"question": "Why is it wet?", "answer": "It rained."},
    ],
)
@pytest.mark.parametrize("kind", ["json", "jsonl", "jsonl.gz", "wrapped"])
def test_each_form_in_each_file_is_the_same_conversation(
    record: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / {"json": "a.json", "wrapped": "a.json"}.get(kind, f"a.{kind}")
    if kind == "json":
        path.write_text(json.dumps([record]))
    elif kind == "wrapped":
        path.write_text(json.dumps({"version": 1, "data": [record]}))
    else:
        line = (json.dumps(record) + "\n").encode()
        path.write_bytes(gzip.compress(line) if kind.endswith("gz") else line)
    (found,) = read_conversations([path])
    assert found.messages == (ASKED, ANSWER)


def test_an_input_follows_its_instruction_and_a_system_prompt_comes_first() -> None:
    record = {
        "system": "Be brief.",
        "instruction": "Add a comma.",
        "input": "Well done",
        "output": "Well, done",
    }
    assert messages_of(record, "here") == (
        Message("system", "Be brief."),
        Message("user", "Add a comma.\nWell done"),
        Message("assistant", "Well, done"),
    )


def test_tables_are_read_too(tmp_path: Path) -> None:
    pyarrow: Any = pytest.importorskip("pyarrow")
    parquet: Any = pytest.importorskip("pyarrow.parquet")

    (tmp_path / "a.csv").write_text('prompt,completion\n"Why is it wet?","It rained."\n')
    table = pyarrow.table({"prompt": ["Why is it wet?"], "completion": ["It rained."]})
    parquet.write_table(table, tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        (found,) = read_conversations([tmp_path / name])
        assert found.messages == (ASKED, ANSWER)


def test_preferences_in_both_forms(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Why is it wet?"}]
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(
            [
                {"prompt": "Why is it wet?", "chosen": "It rained.", "rejected": "No."},
                {"instruction": "Why is it wet?", "output": "-", "chosen": "It rained.", "rejected": "No."},
                {
                    "chosen": [*turns, {"role": "assistant", "content": "It rained."}],
                    "rejected": [*turns, {"role": "assistant", "content": "No."}],
                },
            ]
        )
    )
    for found in read_preferences([path]):
        assert (found.prompt, found.chosen, found.rejected) == ((ASKED,), "It rained.", "No.")


def test_a_prompt_keeps_its_record_and_loses_its_answer(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "Why is it wet?", "completion": "It rained.", "words": ["rain"]}\n')
    (found,) = read_prompts([path])
    assert found.messages == (ASKED,)
    assert found.record["words"] == ["rain"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"title": "x", "body": "y"}', r"a.jsonl:2 has not a prompt; its fields are: title, body"),
        ('{"instruction": "Do."}', r"a.jsonl:2 has not an answer to learn"),
        ('{"instruction": "Do.", "output": "  "}', r"a.jsonl:2: The answer is empty"),
        ('{"instruction": "Do.", "output": 4}', r"a.jsonl:2: the field 'output' holds int"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', r"no role 'robot'"),
        ('{"messages": ["hello"]}', r"each message has role and content, but one is 'hello'"),
        ('{"messages": []}', r"a.jsonl:2 has not an answer"),
        ('{"instruction": "Do.", ', r"a.jsonl:2 is not valid JSON"),
        ('["x"]', r"a.jsonl:2 is no record with fields but list"),
    ],
)
def test_what_is_no_conversation_is_told_with_its_place(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' + line + "\n")
    with pytest.raises(CorpusError, match=message):
        read_conversations([path])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "a", "chosen": "b"}, "chosen and a rejected"),
        ({"prompt": "a", "chosen": "", "rejected": "c"}, "The chosen answer is empty"),
        ({"prompt": "a", "chosen": "b", "rejected": "\n"}, "The rejected answer is empty"),
        ({"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"},
          {"role": "assistant", "content": "c"}]}, "must be the same"),
    ],
)  # fmt: skip
def test_what_is_no_preference_is_told(record: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([record]))
    with pytest.raises(CorpusError, match=message):
        read_preferences([path])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "hello", "named .json, .jsonl"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", '{"a": 1}', "holds no list"),
        ("a.json", "[]", "There is no record"),
        ("a.csv", "prompt,completion\nonly one\n", "not as many columns"),
        ("a.parquet", "no", "not a whole Parquet file"),
    ],
)
def test_files_that_cannot_be_read_are_told(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_conversations([tmp_path / name])
    with pytest.raises(CorpusError, match="no file"):
        list(read_records(tmp_path / "nowhere.json"))


def test_the_real_records_are_read(shared_data: Path) -> None:
    assert len(read_conversations([shared_data / "instructions.json"])) == 1100
    assert len(read_preferences([shared_data / "preferences.json"])) == 1100


def test_labelled_texts_from_tables_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sentence,category\nIt is fun.,good\nIt is dull.,bad\n")
    for label, text in (("good", "It is fun."), ("bad", "It is dull.")):
        (tmp_path / "texts" / label).mkdir(parents=True)
        (tmp_path / "texts" / label / "1.txt").write_text(text)
    for path in (tmp_path / "a.csv", tmp_path / "texts"):
        found = {(item.text, item.label) for item in read_labelled([path])}
        assert found == {("It is fun.", "good"), ("It is dull.", "bad")}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,label\na,x\nb,x\n", {}, "only the label 'x'"),
        ("text,label\n,x\nb,y\n", {}, "a.csv:2: the text is empty"),
        ("text,kind\na,x\nb,y\n", {}, "no field any of label, class.*--label-field"),
        ("text,label\na,x\nb,y\n", {"text_field": "txt"}, "no field 'txt'.*Did you mean text"),
    ],
)
def test_labelled_texts_that_cannot_be_used_are_told(
    content: str, options: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_labelled([tmp_path / "a.csv"], **options)

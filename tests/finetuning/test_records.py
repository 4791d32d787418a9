"""Records in every known form give the same turns; anything else is reported with its place and its fields."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glassgpt.errors import CorpusError, GlassGPTError
from glassgpt.finetuning.labelled import label_notes, read_labelled
from glassgpt.finetuning.records import (
    Message,
    messages_of,
    read_conversations,
    read_preferences,
    read_prompts,
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


@pytest.mark.parametrize(
    "form",
    [
        {"instruction": "Why is it wet?", "output": "It rained."},
        {"prompt": "Why is it wet?", "completion": "It rained."},
        {
            "conversations": [
                {"from": "human", "value": ASKED.content},
                {"from": "gpt", "value": ANSWER.content},
            ]
        },
    ],
)
def test_a_system_prompt_and_earlier_turns_beside_any_form_are_kept(form: dict[str, Any]) -> None:
    """LLaMA-Factory's files have `system` and `history` beside the turns, which were once dropped silently."""
    earlier = {"system": "Be brief.", "history": [["Hello", "Hi."]]}
    before = (Message("system", "Be brief."), Message("user", "Hello"), Message("assistant", "Hi."))
    assert messages_of({**earlier, **form}, "here") == (*before, ASKED, ANSWER)
    assert messages_of({"system": "", "history": [], **form}, "here") == (ASKED, ANSWER)
    with pytest.raises(CorpusError, match=r"'history' holds a list, but not pairs"):
        messages_of({**form, "history": ["Hello"]}, "here")


def test_a_system_message_counts_once_and_preferences_have_it_too(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be kind."}
    turns = [{"role": "user", "content": ASKED.content}]
    record = {"system": "Be kind.", "messages": [system, *turns]}
    assert messages_of(record, "here") == (Message("system", "Be kind."), ASKED)
    path = tmp_path / "a.jsonl"
    endings = {name: [*turns, {"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    path.write_text(json.dumps({"system": "Be kind.", **endings}))
    (found,) = read_preferences([path])
    assert found.prompt == (Message("system", "Be kind."), ASKED)


def test_contents_and_answers_may_be_lists() -> None:
    """TRL writes prompt and completion as lists of messages, and OpenAI a content as a list of parts of text."""
    parts = [{"type": "text", "text": "Why is "}, {"type": "text", "text": "it wet?"}]
    asked, answer = {"role": "user", "content": parts}, {"role": "assistant", "content": ANSWER.content}
    assert messages_of({"messages": [asked, answer]}, "here") == (ASKED, ANSWER)
    assert messages_of({"prompt": [asked], "completion": [answer]}, "here") == (ASKED, ANSWER)
    assert messages_of({"prompt": ASKED.content, "completion": [answer]}, "here") == (ASKED, ANSWER)
    with pytest.raises(CorpusError, match="both texts, but message 1"):
        messages_of({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "here")


@pytest.mark.parametrize("field", ["weight", "train", "loss"])
def test_a_turn_of_weight_0_is_read_and_not_learned(field: str, tmp_path: Path) -> None:
    """A bad answer that OpenAI's files mark as context only was once learned like any other."""
    turns = [("user", "2 + 2?", None), ("assistant", "5", 0), ("user", "Sure?", None), ("assistant", "4", 1)]
    messages = [{"role": role, "content": content, field: weight} for role, content, weight in turns]
    found = messages_of({"messages": messages}, "here")
    assert [message.is_learned for message in found] == [True, False, True, True]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"messages": messages[:end]}) for end in (2, 4)))
    said: list[str] = []
    assert len(read_conversations([path], said.append)) == 1
    assert said == [f"Left out 1 of 2 records, with no answer to learn: {path}:1."]
    with pytest.raises(CorpusError, match=f"message 2: {field} is 0.5; it can be 1"):
        messages_of({"messages": [messages[0], {**messages[1], field: 0.5}]}, "here")


def test_unread_fields_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    call = {"role": "assistant", "content": "I look.", "tool_calls": [{"name": "look"}]}
    records = [
        {"id": 1, "instruction": "Why?", "context": "It rained.", "output": "Rain."},
        {"messages": [{"role": "user", "content": "Why?"}, call]},
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    said: list[str] = []
    assert len(read_conversations([path], said.append)) == 2
    assert said == ["Not read: the fields context, tool_calls (of messages)."]


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
        ('{"title": "x", "body": "y"}', r"a.jsonl:2 does not have a prompt; its fields are: title, body"),
        ('{"instruction": "Do."}', r"a.jsonl:2 does not have an answer to learn"),
        ('{"instruction": "Do.", "output": 4}', r"a.jsonl:2: the field 'output' holds a number"),
        ('{"instruction": "Do.", "input": ["a"], "output": "b"}', r"a.jsonl:2: the field 'input' holds a list"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', r"message 1 has the unknown role 'robot'"),
        ('{"messages": [{"role": [], "content": "x"}]}', r"unknown role \[\]"),
        ('{"messages": [{"role": 99999999999999999999999, "content": "x"}]}', r"unknown role 9999999"),
        ('{"messages": [{"role": "user", "content": null}]}', r"both texts, but message 1 is"),
        ('{"messages": ["hello"]}', r"each message has role and content, both texts, but message 1 is 'hello'"),
        ('{"messages": []}', r"a.jsonl:2 does not have an answer"),
        ('{"messages": "hello"}', r"a.jsonl:2: the field 'messages' holds a text instead of a list"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', r"a.jsonl:2 has only an answer"),
        ('{"messages": [{"role": "system", "content": "x"}, {"role": "assistant", "content": "x"}]}',
         r"a.jsonl:2 has only an answer"),
        ('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}, '
         '{"role": "user", "content": "z"}]}', r"a.jsonl:2: the last of its 3 messages is the user's"),
        ('{"instruction": "Do.", ', r"a.jsonl:2 is not valid JSON"),
        ('["x"]', r"a.jsonl:2 is not a record with fields but a list"),
        ("{}", r"a.jsonl:2 does not have a prompt; its fields are: none"),
    ],
)  # fmt: skip
def test_a_record_that_is_no_conversation_is_reported_with_its_place(
    line: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' + line + "\n")
    with pytest.raises(CorpusError, match=message):
        read_conversations([path])


def test_all_errors_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    """Errors were once reported one per call: a file with forty errors took forty tries."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n' * 8)
    with pytest.raises(
        CorpusError, match=r"a.jsonl:2 does not have an answer.* 8 records cannot be used; the others are .*a.jsonl:4,"
        r" .*:6, .*:8, .*:10 and 3 more"
    ):  # fmt: skip
        read_conversations([path])


def test_empty_answers_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": " "}\n'
                    '{"prompt": "a", "completion": null}\n')  # fmt: skip
    said: list[str] = []
    (found,) = read_conversations([path], said.append)
    assert found.messages[-1].content == "b"
    assert said == [f"Left out 2 of 3 records, with an empty answer: {path}:2, {path}:3."]
    path.write_text('{"prompt": "a", "completion": ""}')
    with pytest.raises(CorpusError, match=r"no record in .*a.jsonl to learn from. Left out 1 of 1 records"):
        read_conversations([path])


def test_equal_answers_are_left_out_and_counted(tmp_path: Path) -> None:
    """Equal pairs were once trained on to the end at a loss of 0.693, as if something had been learned."""
    path = tmp_path / "a.json"
    pairs = [{"prompt": "a", "chosen": "b", "rejected": answer} for answer in ("b", "c", "", "b")]
    path.write_text(json.dumps(pairs))
    said: list[str] = []
    (found,) = read_preferences([path], said.append)
    assert found.rejected == "c"
    assert said == [
        f"Left out 2 of 4 records, with equal answers, chosen and rejected: {path}#1, {path}#4.",
        f"Left out 1 of 4 records, with an empty answer: {path}#3.",
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "a", "chosen": "b"}, "chosen and a rejected"),
        ({"prompt": "a", "chosen": "b", "rejected": ["c"]}, "'rejected' holds a list instead of a text"),
        ({"messages": [], "chosen": "b", "rejected": "c"}, "has only an answer"),
        ({"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]},
         "has only an answer"),
        ({"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"}]},
         "must be the assistant's"),
        ({"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"},
          {"role": "assistant", "content": "c"}]}, "must be the same"),
    ],
)  # fmt: skip
def test_a_record_that_is_no_preference_is_reported(
    record: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([record]))
    with pytest.raises(CorpusError, match=message):
        read_preferences([path])


def test_a_prompt_may_stand_beside_lists_of_answers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    sides = {side: [{"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    for prompt in ("Why is it wet?", [{"role": "user", "content": "Why is it wet?"}]):
        path.write_text(json.dumps([{"prompt": prompt, **sides}]))
        (found,) = read_preferences([path])
        assert (found.prompt, found.chosen, found.rejected) == ((ASKED,), "chosen", "rejected")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "hello", "named .jsonl, .ndjson, .json"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", '{"a": 1}', "a.json does not have a prompt"),
        ("a.json", "[]", "There is no record"),
        ("a.csv", "prompt,completion\nonly one\n", "does not have an answer"),
        ("a.csv", 'prompt,completion\n"not closed', "not valid CSV"),
        ("a.parquet", "no", "not a whole Parquet file"),
        ("a.jsonl.gz", "no", "cannot be unpacked"),
    ],
)
def test_unreadable_files_are_reported(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_conversations([tmp_path / name])
    with pytest.raises(CorpusError, match="no file"):
        read_conversations([tmp_path / "nowhere.json"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.json", '{"prompt": "Why is it wet?", "completion": "It rained."}\n' * 2),
        ("lines.json", '{"messages": [{"role": "user", "content": "Why is it wet?"}, {"role": "assistant", '
         '"content": "It rained."}]}\n' * 2),
        ("one.json", '{"messages": [{"role": "user", "content": "Why is it wet?"}, {"role": "assistant", '
         '"content": "It rained."}]}'),
        ("one.json", '{"prompt": "Why is it wet?", "completion": "It rained.", "tags": ["a"]}'),
        ("a.ndjson", '{"question": "Why is it wet?", "answer": "It rained."}\r\n'),
        ("a.csv", "prompt;completion\rWhy is it wet?;It rained.\r"),
        ("a.csv", "prompt, completion\nWhy is it wet?, It rained.\n"),
        ("b.csv", 'instruction,input,output\nWhy is it wet?,,"It rained."\n'),
    ],
)  # fmt: skip
def test_files_are_read_as_pretraining_reads_them(name: str, content: str, tmp_path: Path) -> None:
    """Fine-tuning once had separate readers, which accepted less than those of pretraining."""
    for packed, pack in (("", bytes), (".gz", gzip.compress), (".zst", zstandard.compress)):
        path = tmp_path / f"{name}{packed}"
        path.write_bytes(pack(content.encode()))
        assert {each.messages for each in read_conversations([path])} == {(ASKED, ANSWER)}


def test_long_fields_and_halves_of_characters(tmp_path: Path) -> None:
    """A field of more than 131,072 characters, the limit of Python's csv, was once refused."""
    path = tmp_path / "a.csv"
    path.write_text(f"prompt,completion\nWhy?,{'a' * 200_000}\n")
    (found,) = read_conversations([path])
    assert len(found.messages[-1].content) == 200_000
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a\\ud83d", "completion": "b", "n": 99999999999999999999999999}\n')
    (found,) = read_conversations([path])
    assert found.messages[0].content == "a\ufffd"


FIELDS = ("instruction", "input", "output", "messages", "conversations", "prompt", "completion", "chosen", "rejected",
          "text", "label", "system", "role", "content", "from", "value")  # fmt: skip
WORDS = st.sampled_from(["user", "assistant", "gpt", "", "a", "\ud800", "system"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**80, 10**90) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
)
RECORDS = st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5) | VALUES, max_size=4)
READERS = (read_conversations, read_preferences, read_prompts, lambda paths: read_labelled(paths))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(records=RECORDS, lines=st.booleans(), cut=st.none() | st.integers(0, 200))
def test_any_records_end_in_messages_or_in_an_error(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any], lines: bool, cut: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / ("any.jsonl" if lines else "any.json")
    text = "\n".join(map(json.dumps, records)) if lines else json.dumps(records)
    path.write_text(text[:cut])
    for read in READERS:
        try:
            found = read([path])
        except GlassGPTError as error:
            found = str(error)
        assert 0 < len(found) < 900


def outcomes(path: Path) -> list[str]:
    """Read a file or folder in every way and return the messages of the refusals: no other failure is allowed."""
    messages = []
    for read in READERS if path.is_file() else READERS[-1:]:
        try:
            assert read([path])
        except GlassGPTError as error:
            messages.append(str(error))
    return messages


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet", ".json.gz", ".csv.zst"])
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.binary(max_size=200) | st.text(st.sampled_from('{}[]",:;\r\n promtlabe')).map(str.encode),
       cut=st.integers(0, 300))  # fmt: skip
def test_any_bytes_end_in_records_or_in_an_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes, cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
    pack = gzip.compress if suffix.endswith("gz") else zstandard.compress if suffix.endswith("zst") else bytes
    path.write_bytes(pack(content)[:cut])
    assert all(20 < len(message) < 900 for message in outcomes(path))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["a", "b", ".c"]), st.sampled_from(["1.txt", "2.md", "3.txt.gz", "4.png"]),
                          st.binary(max_size=30) | st.text(max_size=20).map(str.encode)), max_size=5))  # fmt: skip
def test_any_labelled_folder_ends_in_texts_or_in_an_error(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    for label, name, content in texts:
        (folder / label).mkdir(exist_ok=True)
        (folder / label / name).write_bytes(content)
    assert all(20 < len(message) < 900 for message in outcomes(folder))


def test_the_real_records_are_read(shared_data: Path) -> None:
    assert len(read_conversations([shared_data / "instructions.json"])) == 1100
    said: list[str] = []
    assert len(read_preferences([shared_data / "preferences.json"], said.append)) == 1094
    assert "Left out 6 of 1,100 records, with equal answers" in said[0]


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
        ("text,label\n,x\n,y\n", {}, "no record in .* Left out 2 of 2 records, with an empty text"),
        ("text,kind\na,x\nb,y\n", {}, "no field any of label, class.*--label-field"),
        ("text,label\na,x\nb,y\n", {"text_field": "txt"}, "no field 'txt'.*Did you mean text"),
    ],
)
def test_unusable_labelled_texts_are_reported(
    content: str, options: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_labelled([tmp_path / "a.csv"], **options)


def test_empty_texts_and_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    """An empty label was once a class with scores."""
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,x\nb, \nc,y\n,y\n")
    said: list[str] = []
    found = read_labelled([path], say=said.append)
    assert {item.label for item in found} == {"x", "y"}
    assert said == [
        f"Left out 1 of 4 records, with an empty label: {path}:3.",
        f"Left out 1 of 4 records, with an empty text: {path}:5.",
    ]


def test_labelled_folders_hold_packed_and_marked_down_texts_and_folders(tmp_path: Path) -> None:
    for name, text in (("good/a.txt", "It is fun."), ("good/more/b.md", "It is nice."), ("bad/c.txt.gz", "It is dull."),
                       ("bad/d.txt", ""), (".git/e.txt", "No."), ("bad/f.png", "No.")):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    said: list[str] = []
    found = {(item.text, item.label) for item in read_labelled([tmp_path], say=said.append)}
    assert found == {("It is fun.", "good"), ("It is nice.", "good"), ("It is dull.", "bad")}
    assert "Left out 1 of 4 records, with an empty text" in said[0]
    (tmp_path / "bad/d.txt").write_bytes(b"caf\xe9")
    with pytest.raises(CorpusError, match=r"d.txt is not valid UTF-8.*iconv"):
        read_labelled([tmp_path])


def test_flattering_figures_of_labels_are_explained(tmp_path: Path) -> None:
    """If nine of ten texts have the same label, an accuracy of 0.9 needs no model."""
    path = tmp_path / "a.jsonl"
    rows = [
        ("good", "a"),
        ("fine", "a"),
        ("same", "a"),
        ("bad", "b"),
        ("same ", "A"),
        ("odd", "rare"),
        ("new", "a"),
    ]
    path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows))
    texts = read_labelled([path])
    assert label_notes(texts, range(6), [6]) == [
        "Always answering 'a' would be right for 1 of the 1 held-out texts (accuracy 1.000).",
        "These labels have no held-out text, so they are not measured: A, b, rare.",
        f"1 text has more than one label, such as {path}:3 and {path}:5: no answer is right for both.",
        "A and a differ only in capitals, but count as different labels.",
    ]
    assert len(label_notes(texts[:2] + texts[3:4], [0, 2], [1, 2])) == 1


def test_lists_that_are_not_learned_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    pair = {"prompt": "Why?", "completion": "So."}
    path.write_text(json.dumps({"train": [pair], "test": [pair]}))
    said: list[str] = []
    assert len(read_conversations([path], said.append)) == 1
    assert "'train' is read, and 'test' not" in said[0]

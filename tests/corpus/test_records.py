"""Record files: the right field becomes the text, and errors name the line or number of the record."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.corpus.records import ANSWERED, read_documents, record_notes
from glassgpt.errors import CorpusError

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def texts_of(documents) -> list[str]:
    return [document.text for document in documents]


def refusal(read, path: Path, *args) -> str:
    with pytest.raises(CorpusError) as caught:
        list(read(path, *args))
    return str(caught.value)


@settings(deadline=None)  # libraries are imported on the first call
@given(st.lists(texts), st.booleans())
def test_all_formats_give_back_any_text(tmp_path_factory, stories, ascii_only):
    folder = tmp_path_factory.getbasetemp()
    records = [{"id": n, "text": story} for n, story in enumerate(stories)]
    lines = "".join(json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records)
    assert texts_of(read_documents(write(folder / "r.jsonl", lines))) == stories
    whole = json.dumps({"meta": {"list": [1]}, "data": records}, ensure_ascii=ascii_only)
    assert texts_of(read_documents(write(folder / "r.json", whole))) == stories
    with (folder / "r.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows(records)
    assert texts_of(read_documents(folder / "r.csv")) == stories
    pq.write_table(
        pa.table({"id": range(len(stories)), "text": pa.array(stories, pa.string())}), folder / "r.parquet"
    )
    assert texts_of(read_documents(folder / "r.parquet")) == stories


class TestJsonl:
    def test_known_fields_strings_blank_lines_and_nulls(self, tmp_path):
        lines = '{"title": "T", "story": "one"}\n\n"two"\n{"content": "three"}\r\n{"text": null}'
        documents = list(read_documents(write(tmp_path / "s.jsonl", lines)))
        assert texts_of(documents) == ["one", "two", "three", ""]
        assert [d.source.rsplit(":")[-1] for d in documents] == ["1", "3", "4", "5"]

    def test_the_chosen_field_wins(self, tmp_path):
        path = write(tmp_path / "s.jsonl", '{"text": "a", "summary": "b"}')
        assert texts_of(read_documents(path, "summary")) == ["b"]

    def test_broken_json_names_the_line(self, tmp_path):
        path = write(tmp_path / "s.jsonl", '{"text": "a"}\n{"text": "b"\n')
        assert "s.jsonl:2 is not valid JSON" in refusal(read_documents, path)

    def test_deep_nesting_is_an_error_not_a_crash(self, tmp_path):
        path = write(tmp_path / "s.jsonl", "[" * 200_000)
        assert "s.jsonl:1 has lists and objects nested more than 100 deep" in refusal(read_documents, path)

    def test_a_missing_field_names_line_fields_and_neighbour(self, tmp_path):
        path = write(tmp_path / "s.jsonl", '{"summary": "a", "n": 1}\n')
        message = refusal(read_documents, path, "sumary")
        assert "s.jsonl:1 has no field 'sumary'; its fields are: summary, n. Did you mean summary?" in message

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ('{"text": 3}', "holds a number instead of a text"),
            ('{"text": ["a"]}', "holds a list"),
            ("[1]", "neither a text nor an object"),
            ("{}", "has no fields at all"),
        ],
    )
    def test_other_things_are_refused(self, tmp_path, line, said):
        assert said in refusal(read_documents, write(tmp_path / "s.jsonl", line))

    def test_half_a_surrogate_pair_becomes_a_replacement_character(self, tmp_path):
        path = write(tmp_path / "s.jsonl", r'{"text": "a\ud83d b \ud83e\uddc0"}')
        assert texts_of(read_documents(path)) == ["a\ufffd b 🧀"]


class TestJson:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ('["a", "b"]', ["a", "b"]),
            ('[{"text": "a"}, {"body": "b"}]', ["a", "b"]),
            ('{"version": 1, "tags": ["x"], "data": [{"text": "a"}]}', ["a"]),
            ('{"stories": ["a", "b"]}', ["a", "b"]),
            ('{"tags": ["x", "y"], "text": "a"}', ["a"]),
            ('{"text": "a"}', ["a"]),
            ('"a"', ["a"]),
            ("[]", []),
            ('{"data": []}', []),
            ('\ufeff["a"]', ["a"]),
            ('{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
            ('{"text": "a", "spans": [{"start": 0}]}\n{"text": "b", "spans": []}', ["a", "b"]),
            ('{"text": "a", "turns": [{"role": "user", "content": "b"}]}', ["a"]),
            ('{"version": {"a": [1, {"b": "]}"}]}, "data": [{"text": "a"}, {"text": "b"}]}', ["a", "b"]),
            ('[{"text": "a\\"]}\\\\"}, {"text": "{["}]', ['a"]}\\', "{["]),
        ],
    )
    def test_shapes(self, tmp_path, content, expected):
        assert texts_of(read_documents(write(tmp_path / "s.json", content))) == expected

    def test_instruction_records_ask_for_a_choice(self, shared_data):
        path = shared_data / "instructions.json"
        message = refusal(read_documents, path)
        assert "instructions.json#1" in message
        assert "instruction, input, output" in message
        assert "--text-field output" in message
        expected = [record["output"] for record in json.loads(path.read_text())]
        assert texts_of(read_documents(path, "output")) == expected

    @pytest.mark.parametrize(
        "content",
        ['["a", ', "", "{'a': 1}", '["a"] ["b"]', '["a",]', '["a" "b"]', '{"data": [{"text": "a"}', '[,"a"]', "]",
         '{"text": "a"},\n{"text": "b"}', '["a\\', '{"text": "a" "b"}', '{"data": ["a"'],
    )  # fmt: skip
    def test_broken_json_is_refused(self, tmp_path, content):
        assert "is not valid JSON" in refusal(read_documents, write(tmp_path / "s.json", content))

    @pytest.mark.parametrize("content", ["[1]", "3", '{"a": {"b": ["c"]}}'])
    def test_json_without_text_is_refused(self, tmp_path, content):
        assert refusal(read_documents, write(tmp_path / "s.json", content))


class TestCsv:
    def test_columns_quotes_and_lines(self, tmp_path):
        path = write(tmp_path / "s.csv", 'id,text\n1,"a ""b"",\nc"\n\n2,d\n')
        documents = list(read_documents(path))
        assert texts_of(documents) == ['a "b",\nc', "d"]
        assert documents[1].source == f"{path}:5"

    def test_a_single_column_is_the_text_whatever_its_name(self, tmp_path):
        assert texts_of(read_documents(write(tmp_path / "s.csv", "sentence\na\nb\n"))) == ["a", "b"]

    @pytest.mark.parametrize(
        ("content", "texts", "note"),
        [
            (
                "He came in.\nShe left.\n",
                ["He came in.", "She left."],
                "its first row is read as a text, too",
            ),
            ("Emma\nOlivia\n", ["Olivia"], "'Emma', is read as the name of its column"),
            ("12\n13\n", ["12", "13"], "no row with the name of its column"),
            ("text\na\n", ["a"], ""),
            ("id;text\n1;a, b\n", ["a, b"], "separated by ';'"),
            ('"id"\t"text"\n1\t"a; b"\n', ["a; b"], "separated by"),
            ("He said; she said.\nThen; later.\n", ["He said; she said.", "Then; later."], "read as a text"),
            ('id, text\n1, "a, b"\n2, c\n', ["a, b", "c"], ""),
            ("id,text\r1,a\r2,b\r", ["a", "b"], ""),
            ('id,text\r\n1,"a\rb"\r\n', ["a\rb"], ""),
            ("id,text,,\n1,a,,\n2,b,,,,\n", ["a", "b"], ""),
            ("", [], ""),
            ("\n\n", [], ""),
            ("\n\nid,text\n1,a\n", ["a"], ""),  # the header, two blank lines down, was a text
        ],
    )
    def test_the_first_row_decides_and_the_decision_is_reported(self, tmp_path, content, texts, note):
        """A file of sixty sentences without a header once silently lost its first sentence."""
        path = write(tmp_path / "s.csv", content)
        assert texts_of(read_documents(path)) == texts
        notes = " ".join(record_notes(path))
        assert note in notes if note else not notes

    def test_long_fields(self, tmp_path):
        assert texts_of(read_documents(write(tmp_path / "s.csv", f"text\n{'a' * 500_000}\n"))) == [
            "a" * 500_000
        ]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("id,title\n1,a\n", "its fields are: id, title"),
            ("name;label\na;1\n", "its fields are: name, label"),
            ("id,text\n1,one, two\n", "s.csv:2 has 3 columns and the first row 2"),
            ("text,text\na,b\n", "two columns that are called text"),
            ("id,text\n1\n", "s.csv:2 has no column 'text'"),
            ('text\n"a\n', "s.csv:2 is not valid CSV"),
        ],
    )
    def test_what_does_not_fit_is_named(self, tmp_path, content, said):
        assert said in refusal(read_documents, write(tmp_path / "s.csv", content))


class TestParquet:
    def test_batches_keep_the_order(self, tmp_path):
        stories = [f"story {n}" for n in range(1_000)]
        table = pa.table({"story": pa.array(stories, pa.large_string()), "n": range(1_000)})
        pq.write_table(table, tmp_path / "s.parquet", row_group_size=300)
        documents = list(read_documents(tmp_path / "s.parquet"))
        assert texts_of(documents) == stories
        assert documents[999].source.endswith("s.parquet#1000")

    def test_what_does_not_fit_is_named(self, tmp_path):
        pq.write_table(pa.table({"id": [1], "n": [1]}), tmp_path / "n.parquet")
        assert "its fields are: id, n" in refusal(read_documents, tmp_path / "n.parquet")
        assert "n.parquet#1: the field 'n' holds a number" in refusal(
            read_documents, tmp_path / "n.parquet", "n"
        )
        assert "is not a whole Parquet file" in refusal(
            read_documents, write(tmp_path / "x.parquet", "hello")
        )


@pytest.mark.parametrize(
    ("content", "texts", "note"),
    [
        ({"train": [{"text": "a"}], "test": [{"text": "b"}]}, ["a"], "'train' is read, and 'test' not"),
        ({"tags": ["x"], "data": [{"text": "a"}], "more": [{"text": "b"}]}, ["a"], "'more' not"),
        ({"one": ["a"], "two": ["b"]}, ["a"], "'one' is read, and 'two' not"),
        ({"tags": ["x"], "data": [{"text": "a"}]}, ["a"], ""),
        ({"text": "a", "tags": ["x"], "more": ["y"]}, ["a"], ""),
        ([{"text": "a"}], ["a"], ""),
    ],
)
def test_lists_that_are_not_read_are_reported(
    tmp_path: Path, content: object, texts: list[str], note: str
) -> None:
    """In a data set stored as one object with a list per split, all lists but the first were silently dropped."""
    path = write(tmp_path / "a.json", json.dumps(content))
    assert texts_of(read_documents(path)) == texts
    notes = " ".join(record_notes(path))
    assert note in notes if note else not notes


PAIRS = [(asked, answer) for asked, answers in ANSWERED.items() for answer in answers]


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_questions_with_answers_say_how_to_learn_to_answer(tmp_path: Path, pair: tuple[str, str]) -> None:
    """Of `prompt` with `response`, which a fine-tuning reads too, nothing was said."""
    path = write(tmp_path / "asked.jsonl", json.dumps(dict(zip(pair, ("Why?", "So."), strict=True))) + "\n")
    with pytest.raises(CorpusError) as caught:
        list(read_documents(path))
    assert caught.value.__notes__ == [f"To learn to answer instead:  glassgpt finetune sft RUN {path}"]


def test_conversations_say_it_too_and_other_fields_do_not(tmp_path: Path) -> None:
    for number, (record, advised) in enumerate(
        [({"messages": []}, True), ({"prompt": "a", "x": "b"}, False)]
    ):
        path = write(tmp_path / f"{number}.jsonl", json.dumps(record) + "\n")
        with pytest.raises(CorpusError) as caught:
            list(read_documents(path))
        assert hasattr(caught.value, "__notes__") == advised

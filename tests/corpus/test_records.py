"""Record files: the right field becomes the text, and what does not fit is named by line or number."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.corpus.records import read_csv, read_json, read_jsonl, read_parquet
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
    assert texts_of(read_jsonl(write(folder / "r.jsonl", lines))) == stories
    whole = json.dumps({"meta": {"list": [1]}, "data": records}, ensure_ascii=ascii_only)
    assert texts_of(read_json(write(folder / "r.json", whole))) == stories
    with (folder / "r.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows(records)
    assert texts_of(read_csv(folder / "r.csv")) == stories
    pq.write_table(
        pa.table({"id": range(len(stories)), "text": pa.array(stories, pa.string())}), folder / "r.parquet"
    )
    assert texts_of(read_parquet(folder / "r.parquet")) == stories


class TestJsonl:
    def test_known_fields_strings_blank_lines_and_nulls(self, tmp_path):
        lines = '{"title": "T", "story": "one"}\n\n"two"\n{"content": "three"}\r\n{"text": null}'
        documents = list(read_jsonl(write(tmp_path / "s.jsonl", lines)))
        assert texts_of(documents) == ["one", "two", "three", ""]
        assert [d.source.rsplit(":")[-1] for d in documents] == ["1", "3", "4", "5"]

    def test_the_chosen_field_wins(self, tmp_path):
        path = write(tmp_path / "s.jsonl", '{"text": "a", "summary": "b"}')
        assert texts_of(read_jsonl(path, "summary")) == ["b"]

    def test_broken_json_names_the_line(self, tmp_path):
        path = write(tmp_path / "s.jsonl", '{"text": "a"}\n{"text": "b"\n')
        assert "s.jsonl:2 is not valid JSON" in refusal(read_jsonl, path)

    def test_deep_nesting_is_an_error_not_a_crash(self, tmp_path):
        assert "s.jsonl:1 is not valid JSON" in refusal(
            read_jsonl, write(tmp_path / "s.jsonl", "[" * 200_000)
        )

    def test_a_missing_field_names_line_fields_and_neighbour(self, tmp_path):
        path = write(tmp_path / "s.jsonl", '{"summary": "a", "n": 1}\n')
        message = refusal(read_jsonl, path, "sumary")
        assert "s.jsonl:1 has no field 'sumary'; its fields are: summary, n. Did you mean summary?" in message

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ('{"text": 3}', "holds a value of type int instead of a text"),
            ('{"text": ["a"]}', "holds a list"),
            ("[1]", "neither a text nor an object"),
            ("{}", "has no fields at all"),
        ],
    )
    def test_other_things_are_refused(self, tmp_path, line, said):
        assert said in refusal(read_jsonl, write(tmp_path / "s.jsonl", line))

    def test_half_a_surrogate_pair_becomes_a_replacement_character(self, tmp_path):
        path = write(tmp_path / "s.jsonl", r'{"text": "a\ud83d b \ud83e\uddc0"}')
        assert texts_of(read_jsonl(path)) == ["a\ufffd b 🧀"]


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
        ],
    )
    def test_shapes(self, tmp_path, content, expected):
        assert texts_of(read_json(write(tmp_path / "s.json", content))) == expected

    def test_instruction_records_ask_for_a_choice(self, shared_data):
        path = shared_data / "instructions.json"
        message = refusal(read_json, path)
        assert "instructions.json#1" in message
        assert "instruction, input, output" in message
        assert "--corpus.text-field output" in message
        expected = [record["output"] for record in json.loads(path.read_text())]
        assert texts_of(read_json(path, "output")) == expected

    @pytest.mark.parametrize("content", ['["a", ', "", "{'a': 1}", '{"text": "a"}\n{"text": "b"}'])
    def test_broken_json_is_refused(self, tmp_path, content):
        message = refusal(read_json, write(tmp_path / "s.json", content))
        assert "s.json is not valid JSON" in message
        assert ".jsonl" in message

    @pytest.mark.parametrize("content", ["[1]", "3", '{"a": {"b": ["c"]}}'])
    def test_json_without_text_is_refused(self, tmp_path, content):
        assert refusal(read_json, write(tmp_path / "s.json", content))


class TestCsv:
    def test_columns_quotes_and_lines(self, tmp_path):
        path = write(tmp_path / "s.csv", 'id,text\n1,"a ""b"",\nc"\n\n2,d\n')
        documents = list(read_csv(path))
        assert texts_of(documents) == ['a "b",\nc', "d"]
        assert documents[1].source == f"{path}:5"

    def test_a_single_column_is_the_text_whatever_its_name(self, tmp_path):
        assert texts_of(read_csv(write(tmp_path / "s.csv", "sentence\na\nb\n"))) == ["a", "b"]

    def test_long_fields(self, tmp_path):
        assert texts_of(read_csv(write(tmp_path / "s.csv", f"text\n{'a' * 500_000}\n"))) == ["a" * 500_000]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("id,title\n1,a\n", "its fields are: id, title"),
            ("text;label\na;1\n", "must be separated by commas"),
            ("id,text\n1\n", "s.csv:2 has no column 'text'"),
            ('text\n"a\n', "s.csv:2 is not valid CSV"),
        ],
    )
    def test_what_does_not_fit_is_named(self, tmp_path, content, said):
        assert said in refusal(read_csv, write(tmp_path / "s.csv", content))


class TestParquet:
    def test_batches_keep_the_order(self, tmp_path):
        stories = [f"story {n}" for n in range(1_000)]
        table = pa.table({"story": pa.array(stories, pa.large_string()), "n": range(1_000)})
        pq.write_table(table, tmp_path / "s.parquet", row_group_size=300)
        documents = list(read_parquet(tmp_path / "s.parquet"))
        assert texts_of(documents) == stories
        assert documents[999].source.endswith("s.parquet#1000")

    def test_what_does_not_fit_is_named(self, tmp_path):
        pq.write_table(pa.table({"n": [1]}), tmp_path / "n.parquet")
        assert "its fields are: n" in refusal(read_parquet, tmp_path / "n.parquet")
        assert "n.parquet#1: the field 'n' holds a value of type int" in refusal(
            read_parquet, tmp_path / "n.parquet", "n"
        )
        assert "is not a whole Parquet file" in refusal(read_parquet, write(tmp_path / "x.parquet", "hello"))

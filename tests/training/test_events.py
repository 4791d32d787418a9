"""Events become plain values and JSON, and come back unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.training.events import KINDS, Event, event_from_dict, event_to_dict

numbers = st.floats(allow_nan=False)  # a best loss of infinity included
fields: dict[Any, st.SearchStrategy[Any]] = {
    "int": st.integers(),
    "float": numbers,
    "bool": st.booleans(),
    "str": st.text(),
    "tuple[str, ...]": st.lists(st.text()).map(tuple),
    "float | None": st.none() | numbers,
    "dict[str, float]": st.dictionaries(st.text(), numbers),
}


def any_of(kind: type) -> st.SearchStrategy[Event]:
    return st.builds(kind, **{name: fields[hint] for name, hint in kind.__annotations__.items()})


@given(st.one_of(*map(any_of, KINDS.values())))
def test_an_event_comes_back_from_json(event: Event):
    values = event_to_dict(event)
    assert next(iter(values)) == "event"
    assert event_from_dict(json.loads(json.dumps(values))) == event


def test_every_kind_has_its_own_name():
    assert len(set(KINDS.values())) == len(KINDS) == len(Event.__args__)


def test_reading_does_not_change_what_it_reads():
    values = {"event": "sample", "step": 3, "texts": ["a"]}
    event_from_dict(values)
    assert values == {"event": "sample", "step": 3, "texts": ["a"]}


def test_an_unknown_kind_is_a_key_error():
    with pytest.raises(KeyError):
        event_from_dict({"event": "party", "step": 1})

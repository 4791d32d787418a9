"""Requests made from the OpenAPI description: no answer is a 5xx, and each has a status and a shape described there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.serving.conftest import listening

schemathesis = pytest.importorskip("schemathesis")


@pytest.mark.parametrize("examples", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_answers_are_those_of_the_description(
    trained: Path, serve: Callable[..., Any], examples: int
) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    from glassgpt.serving.limits import Limits

    limits = Limits(max_tokens=40, choices=4)
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    asked: set[str] = set()
    with listening(serve(trained / "answers", limits=limits), limits) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def check(case: Any) -> None:
                case.call_and_validate(checks=checks)

            check()
            asked.add(operation.label)
    assert {"POST /v1/completions", "POST /v1/chat/completions", "POST /v1/embeddings"} <= asked

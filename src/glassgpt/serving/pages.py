"""The page that describes every address and lets one try them, from files of this installation: no network is needed.

The page is Swagger UI, whose bundled version reads OpenAPI 3.0; so null is written as in that version.
"""

from __future__ import annotations

import functools
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path


def add_pages(app: FastAPI) -> None:
    """Add `/docs` and what it loads."""
    describe = app.openapi
    app.openapi_version = "3.0.3"

    @functools.cache
    def described() -> dict[str, Any]:
        older = _older(describe())
        older["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        return older | {"security": [{"key": []}, {}]}  # a key, or none where the server asks for none

    app.openapi = described  # pyright: ignore[reportAttributeAccessIssue]
    app.mount("/docs/files", StaticFiles(directory=str(swagger_ui_path)), name="files of the page")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url="/docs/files/swagger-ui-bundle.js",
            swagger_css_url="/docs/files/swagger-ui.css",
            swagger_favicon_url="/docs/files/favicon-32x32.png",
            swagger_ui_parameters={"validatorUrl": None},  # it would ask a server elsewhere
        )


def _older(described: Any) -> Any:
    """Return a description with what OpenAPI 3.0 does not have written in its way."""
    if isinstance(described, list):
        return [_older(one) for one in described]
    if not isinstance(described, dict):
        return described
    older = {name: _older(value) for name, value in described.items() if name != "propertyNames"}
    if "const" in older and "enum" not in older:
        older["enum"] = [older.pop("const")]
    if older.get("type") == "null":
        older |= {"type": "string", "nullable": True, "enum": [None]}
    kinds = described.get("anyOf")
    if isinstance(kinds, list) and any(kind.get("type") == "null" for kind in kinds):
        others = [_older(kind) for kind in kinds if kind.get("type") != "null"]
        del older["anyOf"]
        older |= {"nullable": True} | (
            others[0] if len(others) == 1 and "$ref" not in others[0] else {"anyOf": others}
        )
    for name in ("Minimum", "Maximum"):
        limit = older.get(f"exclusive{name}")
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            older |= {f"exclusive{name}": True, name.lower(): limit}
    return older

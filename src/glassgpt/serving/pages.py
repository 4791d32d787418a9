"""The page that describes every address and lets one try them, from files of this installation: no network is needed.

The page is Swagger UI, whose bundled version reads OpenAPI 3.0; so null is told in that version's way.
"""

from __future__ import annotations

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
    app.openapi = lambda: _older(describe()) | {"security": [{"key": []}, {}]}  # pyright: ignore
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
    kinds = older.get("anyOf")
    if isinstance(kinds, list) and {"type": "null"} in kinds:
        others = [kind for kind in kinds if kind != {"type": "null"}]
        del older["anyOf"]
        older |= {"nullable": True} | (
            others[0] if len(others) == 1 and "$ref" not in others[0] else {"anyOf": others}
        )
    for name in ("Minimum", "Maximum"):
        limit = older.get(f"exclusive{name}")
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            older |= {f"exclusive{name}": True, name.lower(): limit}
    return older

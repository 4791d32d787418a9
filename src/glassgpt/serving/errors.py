"""Refusals in the shape of OpenAI's errors, which every client can show.

    {"error": {"message": "...", "type": "invalid_request_error", "param": "temperature", "code": null}}

What an answer says never holds a path of the machine. Errors of the rest of GlassGPT may name files, so only those that
are about the request itself are passed on in their own words.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from glassgpt.errors import GenerationError, GlassGPTError, MemoryFullError, TokenizerError
from glassgpt.files import as_utf8

LOG = logging.getLogger("glassgpt.serving")
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""The type of an error by its status; other 4xx are those of a request, and 5xx are `server_error`."""
ABOUT_THE_REQUEST = (GenerationError, TokenizerError)
"""Errors of generation that a client can correct. None of them names a file."""


class Refused(Exception):
    """A request that is refused: the HTTP status, what is wrong and the way out, and the field that it is about."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code = status, code
        # What a client sent may be no valid Unicode.
        self.message = as_utf8(message)
        self.param = None if param is None else as_utf8(param)
        self.headers = dict(headers or {})

    def content(self) -> dict[str, Any]:
        """Return the body of the answer."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.content(), status_code=self.status, headers=self.headers)


def as_api_error(error: BaseException) -> Refused:
    """Return the refusal for any error. What is not about the request is logged, and described in general."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, ABOUT_THE_REQUEST):
        return Refused(400, str(error))
    if isinstance(error, MemoryFullError | MemoryError):
        LOG.warning("Memory is full: %s", error)
        return Refused(
            503, "The server's memory is full. Try again later, or ask for less.", code="memory_full"
        )
    if isinstance(error, GlassGPTError):
        LOG.error("%s", error)
        return Refused(500, "The model could not write this text. The server's log says why.")
    LOG.error("A request failed.", exc_info=error)
    return Refused(500, "The server has an error of its own. Its log says more.", code="internal_error")


def tell_errors(app: FastAPI) -> None:
    """Let an app answer with these errors, whatever goes wrong."""
    for kind in (Refused, GlassGPTError, MemoryError, Exception):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _by_status)


async def _answer(_: Request, error: Exception) -> JSONResponse:
    return as_api_error(error).response()


async def _by_status(request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses: an unknown address, a wrong method, a body that cannot be read."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    messages = {
        404: f"There is nothing at {where}. GET /docs shows what there is.",
        405: f"{where} is not possible: this address takes {(error.headers or {}).get('Allow', 'another method')}.",
    }
    message = messages.get(error.status_code, "The body of the request cannot be read as JSON.")
    return Refused(error.status_code, message, headers=error.headers).response()


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _first(error.errors()[0]).response()


def _first(found: Mapping[str, Any]) -> Refused:
    """Return an error of pydantic as ours; only its place and its sentence, never the value."""
    if found["type"] == "json_invalid":
        return Refused(400, f"The body of the request is not JSON: {found.get('ctx', {}).get('error', '')}.")
    where = ".".join(str(part) for part in found["loc"] if part not in ("body", "query"))
    if not where:
        return Refused(
            400, "The body of the request must be a JSON object, sent with Content-Type: application/json."
        )
    if found["type"] == "missing":
        return Refused(400, f"{where} is missing.", param=where)
    what = str(found["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    said = (
        f"must be {what}" if str(found["msg"]).startswith("Input should be ") else f"cannot be used: {what}"
    )
    return Refused(400, f"{where} {said}.", param=where)

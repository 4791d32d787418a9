"""The addresses of the server. `schemas` describes what each one accepts; other modules do the work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from typing import Any

from fastapi import FastAPI, Query, Request
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response

from glassgpt import __version__
from glassgpt.serving import answers
from glassgpt.serving.chats import chat, stream_chat
from glassgpt.serving.completions import complete, stream_completion
from glassgpt.serving.embeddings import embed
from glassgpt.serving.errors import as_api_error, tell_errors
from glassgpt.serving.guard import Addresses, Counted, Guard
from glassgpt.serving.limits import Admission, Limits
from glassgpt.serving.metrics import CONTENT_TYPE, Metrics
from glassgpt.serving.models import Models
from glassgpt.serving.pages import add_pages
from glassgpt.serving.schemas import (
    ChatAsked,
    CompletionAsked,
    DetokenizeAsked,
    EmbeddingAsked,
    TokenizeAsked,
)
from glassgpt.serving.streams import Answer, ClientLeft, EventStream, unless_left
from glassgpt.serving.tokenizing import detokenize, tokenize, tokenizer_info
from glassgpt.serving.writing import Service

EVENT = {
    "type": "object",
    "properties": {"data": {"type": "string", "description": "A part of the answer as JSON, or [DONE]."}},
    "required": ["data"],
}
"""One event of a stream; before version 3.2, OpenAPI describes events in the place of the whole."""
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": answers.Failure, "description": what}
    for status, what in {
        400: "Something in the request cannot be done; the message names it.",
        401: "The key is missing or wrong.",
        404: "There is no such model.",
        408: "The body came too slowly.",
        413: "The body is too long.",
        429: "The server is full; Retry-After says when to try again.",
        500: "The server failed.",
        503: "The model cannot be opened, or memory is full.",
        504: "The answer took too long.",
    }.items()
}


def create_app(
    models: Models,
    limits: Limits | None = None,
    *,
    api_key: str | None = None,
    origins: Sequence[str] = (),
    hosts: Collection[str] | None = None,
) -> FastAPI:
    """Return the server for some runs. `origins` are the web pages that may use it, `hosts` see `Guard`."""
    limits = limits or Limits()
    service = Service(models, limits, Admission(limits.queue), Metrics())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await models.close()

    app = FastAPI(
        title="GlassGPT",
        version=__version__,
        summary="Runs trained with GlassGPT, for programs that know OpenAI's interface.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    tell_errors(app)
    add_pages(app)
    _add_routes(app, service)
    paths = {route.path for route in app.routes if hasattr(route, "path")}  # pyright: ignore
    # The last one added is the first that a request meets.
    app.add_middleware(Guard, limits=limits, api_key=api_key, hosts=hosts)
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    app.add_middleware(Counted, metrics=service.metrics, paths=paths)
    app.add_middleware(Addresses)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    models, limits = service.models, service.limits

    async def attended(request: Request, work: Coroutine[Any, Any, Any]) -> Response:
        try:
            return Answer(await unless_left(request.receive, work, limits.seconds))
        except ClientLeft:
            return Response(status_code=499)  # nobody reads it
        except Exception as error:
            return as_api_error(error).response()

    async def with_tokenizer(model: str | None, function: Callable[..., Any], *arguments: Any) -> Any:
        async with models.using(model) as loaded:
            return await asyncio.to_thread(function, loaded, *arguments)

    def described(shape: Any, *, streams: bool = False) -> dict[int | str, dict[str, Any]]:
        events = {"content": {"text/event-stream": {"schema": EVENT}}} if streams else {}
        return {200: {"model": shape, **events}, **FAILURES}

    @app.get("/health", tags=["server"], summary="Whether the server is up")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", tags=["server"], summary="Numbers for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        service.metrics.loaded.set(len(models.loaded))
        return Response(service.metrics.page(), media_type=CONTENT_TYPE)

    @app.get(
        "/v1/models",
        tags=["models"],
        summary="The runs that are served",
        responses=described(answers.ModelList),
    )
    async def list_models() -> Response:
        return Answer({"object": "list", "data": [card(name) for name in models.names]})

    @app.get(
        "/v1/models/{name:path}", tags=["models"], summary="One run", responses=described(answers.ModelCard)
    )
    async def show_model(name: str) -> Response:
        return Answer(card(models.find(name).name))

    def card(name: str) -> answers.ModelCard:
        return {"id": name, "object": "model", "created": models.created(name), "owned_by": "glassgpt"}

    @app.post(
        "/v1/completions",
        tags=["writing"],
        summary="Continue a text",
        responses=described(answers.Completion, streams=True),
    )
    async def completions(request: Request, asked: CompletionAsked) -> Response:
        if asked.stream:
            return EventStream(stream_completion(service, asked), seconds=limits.seconds)
        return await attended(request, complete(service, asked))

    @app.post(
        "/v1/chat/completions",
        tags=["writing"],
        summary="Answer in a chat",
        responses=described(answers.ChatCompletion, streams=True),
    )
    async def chat_completions(request: Request, asked: ChatAsked) -> Response:
        if asked.stream:
            return EventStream(stream_chat(service, asked), seconds=limits.seconds)
        return await attended(request, chat(service, asked))

    @app.post(
        "/v1/embeddings",
        tags=["writing"],
        summary="Texts as vectors",
        responses=described(answers.Embeddings),
    )
    async def embeddings(request: Request, asked: EmbeddingAsked) -> Response:
        return await attended(request, embed(service, asked))

    @app.post("/tokenize", tags=["tokens"], summary="A text as ids", responses=described(answers.Tokenized))
    async def to_tokens(request: Request, asked: TokenizeAsked) -> Response:
        return await attended(request, with_tokenizer(asked.model, tokenize, asked))

    @app.post(
        "/detokenize", tags=["tokens"], summary="Ids as a text", responses=described(answers.Detokenized)
    )
    async def to_text(request: Request, asked: DetokenizeAsked) -> Response:
        return await attended(request, with_tokenizer(asked.model, detokenize, asked))

    @app.get(
        "/tokenizer_info",
        tags=["tokens"],
        summary="What begins and ends a text",
        responses=described(answers.TokenizerInfo),
    )
    async def info(request: Request, model: str | None = Query(None)) -> Response:
        return await attended(request, with_tokenizer(model, tokenizer_info))

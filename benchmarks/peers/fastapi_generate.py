"""The server that people write first: FastAPI around `generate` of transformers, a thread for each request, and a lock.

python -m benchmarks.peers.fastapi_generate FOLDER PORT
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import torch
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from transformers import AsyncTextIteratorStreamer, AutoModelForCausalLM, AutoTokenizer


def make_app(folder: str) -> FastAPI:
    """Return the app for a model's folder."""
    torch.set_num_threads(1)  # faster than several, for a model of this size
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    app, lock = FastAPI(), threading.Lock()  # `generate` of one model is not made for several threads

    def generate(**settings: Any) -> None:
        with lock:
            model.generate(**settings, do_sample=False, pad_token_id=0)

    async def write(body: dict[str, Any]) -> AsyncIterator[str]:
        ids, tokens = tokenizer(body["prompt"], return_tensors="pt").input_ids, body["max_tokens"]
        streamer = AsyncTextIteratorStreamer(tokenizer, skip_prompt=True)
        settings = {"max_new_tokens": tokens, "min_new_tokens": tokens, "streamer": streamer}
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        threading.Thread(target=generate, kwargs={**inputs, **settings}).start()
        async for text in streamer:
            if text:
                yield f"data: {json.dumps({'choices': [{'index': 0, 'text': text}]})}\n\n"
        yield f"data: {json.dumps({'choices': [{'index': 0, 'text': '', 'finish_reason': 'length'}]})}\n\n"
        yield "data: [DONE]\n\n"

    @app.post("/v1/completions")
    async def completions(request: Request) -> StreamingResponse:
        return StreamingResponse(write(await request.json()), media_type="text/event-stream")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(make_app(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")

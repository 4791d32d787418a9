"""llama.cpp in a process of its own: `python -m glassgpt.interop.llama_server FILE CONTEXT`.

It prints the address at which it listens, and ends when its input does. A process of its own because its server,
taken down right after it came up, may wait for itself for ever; a process can always be ended.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glassgpt.errors import InteropError


class Llama:
    """llama.cpp with one model, on one thread and quiet, asked over HTTP on this machine; `close` ends it.

    Left to itself it keeps keys and values in float16, and computes attention in a way that rounds as much: both
    can be told not to.
    """

    def __init__(self, path: Path, *, context: int = 512) -> None:
        import requests

        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(path), str(context)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.close = weakref.finalize(self, _end, self._process)
        self._address = self._first_line()
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy stands between a machine and itself

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, what: str, **question: Any) -> dict[str, Any]:
        """Return the answer of one of its endpoints."""
        answer = self._http.post(f"{self._address}/{what}", json=question, timeout=600)
        if not answer.ok:
            raise InteropError(f"llama.cpp cannot use the exported file: {answer.text[:300]}")
        return answer.json()

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return self.ask("tokenize", content=text, add_special=False)["tokens"]

    def greedy(self, prompt: list[int], count: int, *, never: Sequence[int] = ()) -> list[int]:
        """Return the likeliest ids after a prompt, none of them an end or one of `never`."""
        if not count:
            return []
        settings: dict[str, Any] = {
            "n_predict": count,
            "temperature": 0,
            "return_tokens": True,
            "ignore_eos": True,
        }
        settings["logit_bias"] = [[id, False] for id in never]
        return self.ask("completion", prompt=prompt, **settings)["tokens"]

    def _first_line(self) -> str:
        """Return the address, which comes after whatever else the library prints."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("http"):
                return line.strip().rstrip("/")
        raise InteropError(
            "llama.cpp cannot open the exported file: it ended at once. Please report it with the run's config.toml."
        )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


def serve(path: str, context: int) -> None:
    """Listen until the input ends, then leave without taking anything down."""
    xllamacpp: Any = importlib.import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = path
    settings.n_ctx = context
    settings.n_parallel = 1
    settings.warmup = False
    settings.verbosity = -1
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads what else is printed
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))

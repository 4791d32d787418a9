"""llama.cpp in a separate process: `python -m glassgpt.interop.llama_server FILE CONTEXT`.

It prints its address and ends when its input ends. It is a separate process because llama.cpp's server may wait for
itself forever when it is stopped right after its start; a process can always be ended.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glassgpt.errors import InteropError

PATIENCE = 600.0
"""Seconds after which the server counts as hanging."""
PLAIN = "plain-template"


class CannotOpen(InteropError):
    """llama.cpp does not open the file."""


class Llama:
    """llama.cpp with one model, quiet and on one thread by default, reached over HTTP on this machine; `close` ends it.

    By default it keeps keys and values in float16, and computes attention with similar rounding; both can be turned
    off.
    """

    def __init__(
        self,
        path: Path,
        *,
        context: int = 512,
        threads: int = 1,
        own_template: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        """Open a file, with its own chat template or a plain one.

        `patience` is the number of seconds that it may take to open the file, and to answer. Raises `InteropError`
        when it ends or hangs during that time.
        """
        import requests

        self._patience = patience
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                __name__,
                str(path),
                str(context),
                str(threads),
                *[PLAIN] * (not own_template),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.close = weakref.finalize(self, _end, self._process)
        self._address = self._first_line()
        self._http = requests.Session()
        self._http.trust_env = False  # never use a proxy for this machine itself

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, what: str, **question: Any) -> dict[str, Any]:
        """Return the answer of one of its endpoints. Raises `InteropError` when it is missing or not as expected."""
        import requests

        try:
            answer = self._http.post(f"{self._address}/{what}", json=question, timeout=self._patience)
            if not answer.ok:
                raise InteropError(f"llama.cpp cannot use the exported file: {answer.text[:300]}")
            return answer.json()
        except (requests.RequestException, ValueError) as error:
            how = f"ended (status {status})" if (status := self._process.poll()) is not None else "hangs"
            raise InteropError(
                f"llama.cpp has not answered: it {how}. Nothing was left. Try again; where it happens each time, "
                "install another version of xllamacpp, or export with  --to hf."
            ) from error

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return _tokens(self.ask("tokenize", content=text, add_special=False))

    def greedy(self, prompt: list[int], count: int, *, never: Sequence[int] = ()) -> list[int]:
        """Return the likeliest ids after a prompt, without end tokens and those of `never`."""
        if not count:
            return []
        settings: dict[str, Any] = {
            "n_predict": count,
            "temperature": 0,
            "return_tokens": True,
            "ignore_eos": True,
        }
        settings["logit_bias"] = [[id, False] for id in never]
        return _tokens(self.ask("completion", prompt=prompt, **settings))

    def _first_line(self) -> str:
        """Return the address, which follows anything else that the library prints."""
        assert self._process.stdout
        began = time.monotonic()
        alarm = threading.Timer(self._patience, self._process.kill)
        alarm.start()
        try:
            for line in self._process.stdout:
                if line.startswith("http"):
                    return line.strip().rstrip("/")
        finally:
            alarm.cancel()
        took = time.monotonic() - began
        how = f"it hung for {took:.0f} s" if took >= self._patience else "it ended at once"
        raise CannotOpen(
            f"llama.cpp cannot open the exported file: {how}. Nothing was left. Please report it with "
            "the run's config.toml."
        )


def _tokens(answer: dict[str, Any]) -> list[int]:
    if not isinstance(answer, dict) or not isinstance(answer.get("tokens"), list):
        raise InteropError(
            "The answer of llama.cpp has an unknown form: install another version of xllamacpp."
        )
    return answer["tokens"]


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


def serve(path: str, context: int, threads: int, *, own_template: bool) -> None:
    """Listen until the input ends, then exit without shutting anything down."""
    xllamacpp: Any = importlib.import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = path
    settings.n_ctx = context
    settings.n_parallel = 1
    settings.warmup = False
    if not own_template:
        settings.chat_template = "chatml"
    settings.verbosity = -1
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads the rest of the output
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), own_template=PLAIN not in sys.argv[4:])

"""Checks a GGUF file by running llama.cpp itself (`xllamacpp`), or only reads it back where that is not installed.

llama.cpp must cut sample texts into the same ids, and continue a prompt greedily as our model does. Its GELU uses a
table of float16 values, and float16 and q8_0 round the weights. So where two tokens are nearly equally likely it may
choose the other one, which is not an error.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from glassgpt.errors import InteropError
from glassgpt.interop.llama_server import CannotOpen, Llama
from glassgpt.interop.parity import PROMPT, Expected, Parity

NEARLY_AS_LIKELY = {"f32": 0.02, "f16": 0.05, "q8_0": 1.0}
"""Largest difference, relative to the largest logit, at which llama.cpp may choose the other token."""


def check_gguf(path: Path, expected: Expected, dtype: str) -> Parity:
    """Compare what llama.cpp computes from the file with `expected`. Raises `InteropError` when it differs."""
    if not importlib.util.find_spec("xllamacpp"):
        return Parity("", "xllamacpp, which is needed for it, is not installed")
    with _opened(path) as llama:
        for text, ids in expected.texts.items():
            if llama.tokenize(text) != ids:
                raise _wrong(f"llama.cpp cuts {text!r} into other tokens")
        written = llama.greedy(
            expected.ids_BT[0, :PROMPT].tolist(), len(expected.greedy), never=expected.never
        )
    pairs = enumerate(zip(expected.greedy, written, strict=False))
    alike = next((at for at, (ours, theirs) in pairs if ours != theirs), len(written))
    if alike < len(expected.greedy):
        _refuse_unlikely(expected, alike, written, dtype)
    import xllamacpp

    return Parity(
        f"llama.cpp (xllamacpp {xllamacpp.__version__})",
        f"{alike} of {len(expected.greedy)} greedy tokens are the same",
    )


def _opened(path: Path) -> Llama:
    """Open a file in llama.cpp. Raises `InteropError`, which says so when only the chat template is the problem."""
    try:
        return Llama(path)
    except CannotOpen as error:
        try:
            Llama(path, own_template=False).close()
        except InteropError:
            raise error from None
        raise InteropError(
            "llama.cpp cannot use this run's chat template: the rest of the file opens. Nothing was left. Correct "
            "chat_template.jinja in the run's folder, or take it out of there, and export again; or use  --to hf."
        ) from error


def _refuse_unlikely(expected: Expected, at: int, written: list[int], dtype: str) -> None:
    """Raise `InteropError` unless the first different token is nearly as likely as ours."""
    logits_V = expected.greedy_logits_TV[at]
    size = max(1.0, logits_V[logits_V.isfinite()].abs().max().item())
    gap = (logits_V.max() - logits_V[written[at]]).item() if at < len(written) else size
    if gap > NEARLY_AS_LIKELY[dtype] * size:
        raise _wrong(f"llama.cpp continues a text differently after {at} tokens")


def _wrong(what: str) -> InteropError:
    return InteropError(
        f"The exported file is wrong: {what}. Nothing was left. This is a bug of GlassGPT's or of the library: please "
        "report it with the run's config.toml and tokenizer.json."
    )


def read_back(path: Path, make: Callable[[str], np.ndarray]) -> float:
    """Return the largest deviation of the file's numbers from those of `make`, relative to a tensor's largest."""
    import gguf

    off = 0.0
    for tensor in gguf.GGUFReader(path).tensors:
        ours = make(tensor.name)
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(ours.shape)
        off = max(off, float(np.abs(numbers - ours).max() / max(np.abs(ours).max(), 1e-30)))
    return off

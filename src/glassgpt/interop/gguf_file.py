"""A run as a GGUF file for llama.cpp, Ollama, LM Studio and similar: weights, tokenizer and chat template in one.

Vectors stay in float32, as everywhere. Matrices are float32, float16, or 8-bit integers in blocks of 32 numbers with
one scale per block (q8_0). With q8_0, a matrix whose width is not a multiple of 32 stays in float16, and a note says
so.

llama.cpp knows the ways to cut text before merging only by name. So only byte-level BPE with one of its known patterns
can be exported.
"""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glassgpt import files
from glassgpt.architectures import llama_cpp
from glassgpt.chat.stored import read_chat_template
from glassgpt.errors import InteropError, require
from glassgpt.interop.gguf_check import read_back
from glassgpt.interop.parity import ends_of_answers
from glassgpt.model.config import ModelConfig
from glassgpt.runs.opening import Run
from glassgpt.tokenizers.fast import FastTokenizer

BLOCK = 32
"""Number of values that share a scale in q8_0."""
FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
"""The file type that programs show."""
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""llama.cpp's token types."""


def write_gguf(run: Run, path: Path, dtype: str) -> list[str]:
    """Write the file completely or not at all; return notes about it.

    Raises `ModelError` or `InteropError` naming what llama.cpp does not support, `MissingExtraError` without `gguf`.
    """
    gguf: Any = require("gguf", extra="gguf", purpose="write GGUF files")
    config = run.model.config
    kind = llama_cpp.architecture(config)
    _require_known_cuts(run.tokenizer)
    ours = run.model.state_dict()
    made = llama_cpp.pieces(config, {name: tuple(tensor.shape) for name, tensor in ours.items()})
    with files.atomic_write(path, "wb") as file:
        writer = gguf.GGUFWriter(file.name, kind)
        try:
            _add_settings(writer, gguf, run, config, kind)
            writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[dtype]])
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
            _add_tokenizer(writer, run, config.vocab_size)
            tensors = _tensors(config, made, ours)
            kept = [_announce(writer, gguf, name, shape, dtype) for name, (shape, _) in tensors.items()]
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for (_, make), stored in zip(tensors.values(), kept, strict=True):
                writer.write_tensor_data(gguf.quants.quantize(_numpy(make()), stored))
        finally:
            writer.close()
    return [*_notes(gguf, kept, dtype), *_read_back(path, tensors)]


def _notes(gguf: Any, kept: list[Any], dtype: str) -> list[str]:
    wide = sum(stored == gguf.GGMLQuantizationType.F16 for stored in kept)
    if dtype != "q8_0" or not wide:
        return []
    return [
        f"The width of {wide} matrices is not a multiple of {BLOCK}, the block size of q8_0: they stay in f16."
    ]


def _read_back(path: Path, tensors: dict[str, Any]) -> list[str]:
    """Compare the file's numbers with ours, where llama.cpp is not installed."""
    if importlib.util.find_spec("xllamacpp"):
        return []
    off = read_back(path, lambda name: _numpy(tensors[name][1]()))
    return [f"Read back, its numbers differ from ours by at most {off:.1e} of the largest in a tensor."]


def _tensors(
    config: ModelConfig, made: dict[str, llama_cpp.Piece], ours: dict[str, Tensor]
) -> dict[str, Any]:
    """Return the shape of each tensor of the file, and a function that makes it."""
    read = ours.__getitem__
    tensors: dict[str, Any] = {
        name: (piece.shape, lambda piece=piece: piece.make(read)) for name, piece in made.items()
    }
    for name, shape in llama_cpp.zero_biases(config).items():
        tensors[name] = (shape, lambda shape=shape: torch.zeros(shape))
    factors = llama_cpp.rope_factors(config)
    if factors is not None:
        tensors[llama_cpp.ROPE_FACTORS] = (tuple(factors.shape), lambda: factors)
    return tensors


def _announce(writer: Any, gguf: Any, name: str, shape: tuple[int, ...], dtype: str) -> Any:
    """Declare a tensor in the file's header; return how it is stored."""
    kinds = gguf.GGMLQuantizationType
    stored = {"f32": kinds.F32, "f16": kinds.F16, "q8_0": kinds.Q8_0}[dtype]
    if len(shape) == 1 or name.startswith("position_embd"):
        stored = kinds.F32
    elif stored == kinds.Q8_0 and shape[-1] % BLOCK:
        stored = kinds.F16
    block, size = gguf.GGML_QUANT_SIZES[stored]
    writer.add_tensor_info(
        name, shape, np.dtype(np.float32), math.prod(shape) // block * size, raw_dtype=stored
    )
    return stored


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy()


def _add_settings(writer: Any, gguf: Any, run: Run, config: ModelConfig, kind: str) -> None:
    writer.add_name(run.directory.name)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.mlp_width)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_vocab_size(config.vocab_size)
    if kind == "gpt2":
        writer.add_layer_norm_eps(config.norm_epsilon)
        return
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    if config.rope_scaling == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_factor)


def _add_tokenizer(writer: Any, run: Run, vocab_size: int) -> None:
    """Write the vocabulary, the tokens that begin and end texts and answers, and the chat template."""
    tokenizer = run.tokenizer
    assert tokenizer.pattern
    content = json.loads(tokenizer.json)
    tokens, kinds = _vocabulary(content, vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pattern.llama_cpp)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = content["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    begin = run.before
    if run.lineage.chat and not run.lineage.is_imported:
        begin = []  # a run fine-tuned here begins with its template
    ends = ends_of_answers(run)
    writer.add_bos_token_id(begin[0] if begin else tokenizer.end_of_text)
    writer.add_add_bos_token(bool(begin))
    writer.add_eos_token_id(ends[0] if ends else tokenizer.end_of_text)
    writer.add_eot_token_id(ends[0] if ends else tokenizer.end_of_text)
    writer.add_pad_token_id(tokenizer.end_of_text)
    if run.directory.chat_template.is_file():
        writer.add_chat_template(read_chat_template(run.directory.chat_template))


def _vocabulary(content: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """Return the spelling and the type of each id, including unused ones."""
    tokens = [f"[UNUSED{id}]" for id in range(vocab_size)]
    kinds = [UNUSED] * vocab_size
    for token, id in content["model"]["vocab"].items():
        tokens[id], kinds[id] = token, NORMAL
    for added in content["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    return tokens, kinds


def _require_known_cuts(tokenizer: FastTokenizer) -> None:
    if tokenizer.kind != "bpe":
        raise InteropError(
            f"This kind of tokenizer ({tokenizer.kind}) cannot be written to GGUF, only byte-level BPE. Train with "
            "--tokenizer.kind bpe, or export with  --to hf."
        )
    if tokenizer.pattern is None:
        raise InteropError(
            "This tokenizer cuts text in a way that llama.cpp does not know by name, so its ids would differ. Train "
            "with --tokenizer.pattern gpt2, llama3 or qwen2, or export with  --to hf."
        )

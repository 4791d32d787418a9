"""A run as a folder in the Hugging Face format, which `transformers` opens without code from us.

The tokenizer is the run's own `tokenizer.json`. `tokenizer_class` must be `PreTrainedTokenizerFast`: otherwise
transformers would use the class of the architecture and its way to cut text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from glassgpt import files
from glassgpt.architectures.configs import to_hugging_face
from glassgpt.architectures.families import Family, family_of
from glassgpt.architectures.weights import refuse_left_out, their_recipes
from glassgpt.chat.stored import read_chat_template
from glassgpt.errors import InteropError, ModelError, require
from glassgpt.interop.parity import Expected, Parity, compare, ends_of_answers
from glassgpt.interop.tensors import write_tensors
from glassgpt.runs.opening import Run

DTYPES = {"f32": torch.float32, "f16": torch.float16}


def write_folder(run: Run, path: Path, dtype: str) -> None:
    """Write the folder completely or not at all. Raises `ModelError` when no family computes the same as the model."""
    config = run.model.config
    family = choose_family(run)
    content = (
        to_hugging_face(config, family)
        | token_ids(run)
        | {"dtype": str(DTYPES[dtype]).removeprefix("torch.")}
    )
    ours = run.model.state_dict()
    refuse_left_out(config, family, ours)
    recipes = their_recipes(config, family)
    with files.atomic_directory(path) as folder:
        write_tensors(
            folder / "model.safetensors",
            {name: match.their_shape(name) for name, match in recipes.items()},
            lambda name: recipes[name].cut(name, ours.__getitem__),
            dtype=DTYPES[dtype],
        )
        files.write_json(folder / "config.json", content)
        files.write_json(folder / "generation_config.json", generation(run))
        files.write_json(folder / "tokenizer_config.json", tokenizer_settings(run))
        run.tokenizer.save(folder / "tokenizer.json")
        if run.directory.chat_template.is_file():
            template = read_chat_template(run.directory.chat_template)
            files.write_text(folder / "chat_template.jinja", template)


def choose_family(run: Run) -> Family:
    """Return the family to write. transformers gives every `qwen2` Qwen's own way to cut text. So a model with the
    parts of Qwen2 but another tokenizer is written as a Llama with biases.

    Raises `ModelError` when there is no family.
    """
    family, pattern = family_of(run.model.config), run.tokenizer.pattern
    if family != "qwen2" or (pattern and pattern.name == "qwen2"):
        return family
    if run.model.config.attention == "sliding":
        raise ModelError(
            "qkv_bias = true with attention = 'sliding' is only in Qwen2, whose tokenizer transformers then takes. "
            "Train with --tokenizer.pattern qwen2, or export with  --to onnx."
        )
    return "llama"


def check_folder(path: Path, expected: Expected, dtype: str) -> Parity:
    """Open the folder with transformers, offline, and compare the ids of texts and the logits of ids."""
    transformers: Any = require("transformers", extra="hf", purpose="check the exported folder")
    with _quiet(transformers):
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, local_files_only=True
        ).eval()
    for text, ids in expected.texts.items():
        if tokenizer.encode(text, add_special_tokens=False) != ids:
            raise InteropError(
                f"The exported folder is wrong: transformers cuts {text!r} into other tokens. Nothing was left. Please "
                "report it with the run's config.toml and tokenizer.json."
            )
    with torch.inference_mode():
        logits_BTV = model(expected.ids_BT).logits
    return compare(expected, logits_BTV, by=f"transformers {transformers.__version__}", dtype=dtype)


def token_ids(run: Run) -> dict[str, Any]:
    """Return the ids that begin and end a text."""
    begin, end = run.begin, run.tokenizer.end_of_text
    return {
        "bos_token_id": begin[0] if begin else end,
        "eos_token_id": (ends_of_answers(run) or [end])[0],
    }


def generation(run: Run) -> dict[str, Any]:
    """Return `generation_config.json`: generation stops at the end of a text or of an answer."""
    ends = [run.tokenizer.end_of_text, *ends_of_answers(run)]
    eos = ends if len(ends) > 1 else ends[0]
    return token_ids(run) | {"eos_token_id": eos, "pad_token_id": ends[0]}


def tokenizer_settings(run: Run) -> dict[str, Any]:
    """Return `tokenizer_config.json`."""
    ids = token_ids(run)
    named = {
        "bos_token": ids["bos_token_id"],
        "eos_token": ids["eos_token_id"],
        "pad_token": run.tokenizer.end_of_text,
        "unk_token": run.tokenizer.unknown_id,
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": run.model.config.context_length,
        "clean_up_tokenization_spaces": False,
        **{
            name: run.tokenizer.decode([id], skip_special=False)
            for name, id in named.items()
            if id is not None
        },
    }


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep a library from drawing progress bars during the block."""
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.enable_progress_bar()

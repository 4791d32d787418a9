"""The vocabulary of a notebook's model: a tokenizer by name, or the characters of the text it was trained on."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from glassgpt.corpus.decoding import text_blocks
from glassgpt.errors import InteropError
from glassgpt.interop.imports import Arrival
from glassgpt.runs.vocabulary import named_tokenizer
from glassgpt.tokenizers.char import CharTokenizer
from glassgpt.tokenizers.fast import FastTokenizer

GPT2_VOCABULARY = range(50257, 50305)
"""Vocabulary sizes used with GPT-2's tokenizer: its own, and the next multiple of 64."""


def tokenizer_of(name: str | None, characters: Path | None, vocab_size: int) -> FastTokenizer:
    """Return the tokenizer of a name or file, or that of the characters of a text.

    Raises `InteropError` when neither is given and the number of ids does not tell, or when the text is another one.
    """
    if characters is None:
        return named_tokenizer(name or _usual_tokenizer(vocab_size))
    if not characters.is_file():
        raise InteropError(f"There is no file {characters}, whose characters would be the vocabulary.")
    found = _characters(characters, vocab_size)
    if len(found) != vocab_size:
        raise InteropError(
            f"{characters} has {len(found)} different characters and the model {vocab_size} ids: it is not the text "
            "that the notebook read."
        )
    return FastTokenizer.from_json(CharTokenizer(found).to_json())


def _characters(path: Path, vocab_size: int) -> list[str]:
    """Return the characters of a text, in order. Raises `CorpusError` when it is not text.

    Python converts all line ends to one kind when it opens a file as text, but a notebook that reads bytes does not.
    The way that gives as many characters as the model has ids is used.
    """
    found = set(itertools.chain.from_iterable(map(set, text_blocks(path))))
    as_text = (found - {"\r"}) | {"\n"} if "\r" in found else found
    return sorted(as_text if len(as_text) == vocab_size else found)


def with_special(arrival: Arrival) -> Arrival:
    """Give a model of plain characters the two further ids of a tokenizer here: unknown, and end of text.

    Their rows are zeros, and a bias of the head makes them impossible. They are never generated.
    """

    def make(ours: str) -> Tensor:
        tensor = arrival.make(ours)
        if ours not in ("token_embedding.weight", "head.weight", "head.bias"):
            return tensor
        return torch.cat(
            (tensor, tensor.new_full((2, *tensor.shape[1:]), -1e4 if ours == "head.bias" else 0.0))
        )

    config = replace(arrival.config, vocab_size=arrival.config.vocab_size + 2)
    return replace(arrival, config=config, make=make, begin=None, documents=False)


def _usual_tokenizer(vocab_size: int) -> str:
    if vocab_size in GPT2_VOCABULARY:
        return "gpt2"
    raise InteropError(
        f"The weights do not show which tokenizer the model was trained with ({vocab_size:,} ids). Give it with "
        "--tokenizer: a tokenizer.json, or gpt2; or, with --characters, the text whose characters are the vocabulary."
    )

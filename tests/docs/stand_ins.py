"""Files that the pages tell their reader to have, made small: texts, records, models of other programs."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

from tests.docs.test_docs_commands import ROOT, blocks

# fmt: off
SHARED = ROOT.parent / "shared"
WORDS = (
    "garden", "letter", "small", "old", "was", "went", "the", "a", "my", "her", "said", "little", "house", "river",
    "morning", "light", "stone",
)
# fmt: on


def text(path: Path) -> None:
    """Write sentences, some 50,000 characters of them, others for each name."""
    draw = random.Random(path.name)
    lines = [" ".join(draw.choices(WORDS, k=9)).capitalize() + "." for _ in range(1000)]
    path.write_text("\n".join(lines), encoding="utf-8")


def texts(path: Path) -> None:
    path.mkdir()
    for name in ("garden.txt", "letter.txt"):
        text(path / name)


def records(*fields: str) -> Callable[[Path], None]:
    """Return what writes 60 records with these fields, as .json, .jsonl or .csv."""

    def write(path: Path) -> None:
        draw = random.Random(0)
        rows = [{field: " ".join(draw.choices(WORDS, k=5)) for field in fields} for _ in range(60)]
        if path.suffix == ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    return write


def reviews(path: Path) -> None:
    rows = [(f"It was a {word} day, number {n}.", word) for n in range(30) for word in ("good", "bad")]
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def tasks(path: Path) -> None:
    """Write the task that the page shows."""
    path.mkdir()
    for block in blocks(ROOT / "docs/evaluation.md"):
        if block.language == "yaml" and "# tasks/animals.yaml" in block.text:
            (path / "animals.yaml").write_text(block.text, encoding="utf-8")
        if block.language == "json":
            (path / "animals.jsonl").write_text(block.text, encoding="utf-8")


def hugging_face_folder(path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from glassgpt.tokenizers.bpe import BPETokenizer

    model = GPT2LMHeadModel(GPT2Config(vocab_size=257, n_positions=32, n_embd=16, n_layer=1, n_head=2))
    model.save_pretrained(path)
    (path / "tokenizer.json").write_text(
        BPETokenizer.train(WORDS, vocab_size=257).to_json(), encoding="utf-8"
    )
    PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json")).save_pretrained(path)


def notebook(path: Path) -> None:
    """Write the weights of a GPT made by hand, with the vocabulary that the page names for it."""
    import torch

    from tests.interop.test_hostile_imports import BY_HAND
    from tests.interop.test_notebooks import BUILD, ByHand

    if path.name == "gpt.pth":
        torch.save(ByHand(BUILD, bias=True, act=torch.relu).table, path)
    else:
        wider = {300: 50257, 8: 24, 32: 96}  # GPT-2's ids, and a width that 12 heads can share
        shapes = {
            name: [wider.get(size or 0, size or 0) for size in shape] for name, shape in BY_HAND.items()
        }
        torch.save({name: torch.randn(shape) for name, shape in shapes.items()}, path)


def three_hundred_characters(path: Path) -> None:
    path.write_text("".join(map(chr, range(0x4E00, 0x4E00 + 300))), encoding="utf-8")


def gpt2_vocabulary(path: Path) -> None:
    """Link the folder in which tiktoken has kept GPT-2's vocabulary."""
    path.symlink_to(SHARED / "tiktoken-cache")


def diary(path: Path) -> None:
    path.mkdir()
    text(path / "may.md")


def vocabulary(kind: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from glassgpt.tokenizers.config import TokenizerConfig
        from glassgpt.tokenizers.train import train_tokenizer

        train_tokenizer([" ".join(WORDS)] * 9, TokenizerConfig(kind=kind)).save(path)  # type: ignore[arg-type]

    return write


FILES: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys(("my-book.txt", "letters.txt", "story.txt", "other-story.txt", "other-text.txt"), text),
    **dict.fromkeys(("my-texts", "other-texts", "texts", "notes/"), texts),
    "diary/": diary,
    "notes.jsonl": records("text"),
    "answers.jsonl": records("output"),
    "records.json": records("instruction", "output"),
    "instructions.json": records("instruction", "output"),
    "more-answers.jsonl": records("instruction", "output"),
    "preferences.json": records("prompt", "chosen", "rejected"),
    "reviews.csv": reviews,
    "tasks": tasks,
    "some-folder": hugging_face_folder,
    "path/to/a/hugging-face-folder": hugging_face_folder,
    "model.pth": notebook,
    "gpt.pth": notebook,
    "input.txt": three_hundred_characters,
    "vocabularies": gpt2_vocabulary,
    "words.json": vocabulary("word"),
    "pieces.json": vocabulary("wordpiece"),
    "chars.json": vocabulary("char"),
}
"""The files that pages tell their reader to have, by the names that commands give them."""

"""The owner of a folder in the Hugging Face format: opened, measured, taught, and given back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.walks.terminal import Terminal

pytestmark = pytest.mark.slow
SENTENCE = "the cat sat on the mat and the dog ran to the log"


def make_folder(folder: Path) -> None:
    """Write a small Llama with a tokenizer, as its authors do."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        byte_level(add_prefix_space=False),
        tokenizers.decoders.ByteLevel(),
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([SENTENCE] * 20, trainer)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    )
    wrapped.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def test_the_owner_of_a_hugging_face_folder(terminal: Terminal) -> None:
    make_folder(terminal.folder / "my llama")
    (terminal.folder / "notes.txt").write_text(f"{SENTENCE}.\n" * 100)
    records = [{"instruction": f"Say {n}.", "output": f"The cat says {n}."} for n in range(40)]
    (terminal.folder / "records.json").write_text(json.dumps(records))

    terminal.types('glassgpt generate "my llama" "the cat"', ends=1)
    terminal.sees("a model in the Hugging Face format, and not a run")
    terminal.pastes("glassgpt import")
    terminal.sees("36,640 parameters, llama")
    terminal.types("glassgpt generate 'my llama' 'the cat'", ends=1)
    terminal.sees("already, as my-llama")
    terminal.pastes("glassgpt generate")

    terminal.types("glassgpt eval my-llama --tasks induction")
    terminal.sees("No loss", "was imported")
    terminal.pastes("glassgpt eval my-llama", fills={"TEXT": "notes.txt"})
    terminal.sees("bits per byte")

    terminal.types("glassgpt train notes.txt --from my-llama", ends=2)
    terminal.sees("A model from elsewhere becomes a run by")
    terminal.types("glassgpt finetune sft my-llama records.json --training.epochs 1")
    terminal.sees("held-out loss")
    terminal.types("glassgpt export my-llama-sft-1")
    terminal.sees("my-llama-sft-1-hf", "Checked with transformers")
    terminal.types("glassgpt runs pack my-llama-sft-1")
    terminal.pastes("glassgpt runs show")

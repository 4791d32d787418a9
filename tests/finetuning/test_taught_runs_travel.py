"""A run that was taught to answer gives the same answers in transformers and llama.cpp, with its own template."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from glassgpt.adapters.config import LoRAConfig
from glassgpt.chat.conversation import Chat, template_of
from glassgpt.chat.templates import id_of
from glassgpt.errors import CorpusError
from glassgpt.finetuning.config import (
    ClassifyConfig,
    DistillConfig,
    SamplesConfig,
    SFTConfig,
    ShortTraining,
)
from glassgpt.finetuning.run import start_finetuning
from glassgpt.generation.text import GenerationConfig
from glassgpt.interop.exports import export_run
from glassgpt.interop.imports import import_model
from glassgpt.interop.llama_server import Llama
from glassgpt.runs.opening import Run, open_run
from glassgpt.runs.report import chain

TRAINING = ShortTraining(
    epochs=0, steps=150, batch_size=4, evaluate_every=150, threads=1, precision="float32", device="cpu",
    learning_rate=1e-2,
)  # fmt: skip
ASKED = "Name a boat."


@pytest.fixture(params=["chatml", "alpaca with LoRA"])
def taught(request: pytest.FixtureRequest, here: Path) -> Run:
    lora = LoRAConfig(rank=8 if "LoRA" in request.param else 0)
    config = SFTConfig(training=TRAINING, samples=SamplesConfig(count=0), lora=lora)
    start_finetuning("base", ["asked.json"], config, name="taught", given=["training.learning_rate"])
    return open_run("taught")


def our_answer(run: Run) -> str:
    template = template_of(run)
    assert template is not None
    settings = GenerationConfig(temperature=0, max_tokens=24)
    return "".join(event.text for event in Chat(run, template).ask(ASKED, settings))


@pytest.mark.slow
def test_transformers_answers_the_same(taught: Run, here: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    folder = export_run("taught", "hf", output=here / "taught-hf").path
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": ASKED}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=False,
    )
    template = template_of(taught)
    assert template is not None
    with torch.inference_mode():
        written = model.generate(ids, max_new_tokens=24, do_sample=False, attention_mask=torch.ones_like(ids))
    answer = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
    assert answer == our_answer(taught)
    if taught.lineage.adapter is not None:  # not enough with a base that has learned almost nothing
        return
    assert answer.startswith("A red ")  # it was taught "A red boat."
    assert written[0, -1].item() == id_of(taught.tokenizer, template.stop)  # and it knows where to stop


@pytest.mark.slow
def test_llama_cpp_writes_the_same(taught: Run, here: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    exported = export_run("taught", "gguf", output=here / "taught.gguf")
    assert "the same" in exported.parity.told
    import gguf

    reader = gguf.GGUFReader(here / "taught.gguf")
    field = reader.get_field("tokenizer.chat_template")
    assert field is not None
    assert field.contents() == taught.directory.chat_template.read_text()
    stop = reader.get_field("tokenizer.ggml.eos_token_id")
    template = template_of(taught)
    assert stop is not None
    assert template is not None
    assert stop.contents() == id_of(taught.tokenizer, template.stop)
    with Llama(here / "taught.gguf", context=96) as llama:  # with its own template, as its chat does
        question = {"messages": [{"role": "user", "content": ASKED}], "max_tokens": 24, "temperature": 0}
        answer = llama.ask("v1/chat/completions", **question)["choices"][0]["message"]["content"]
    assert answer.strip() == our_answer(taught).strip()


def test_a_model_from_elsewhere_is_fine_tuned_and_leaves_again(here: Path) -> None:
    pytest.importorskip("transformers")
    export_run("base", "hf", output=here / "base-hf")
    import_model(str(here / "base-hf"), name="imported")
    few = dataclasses.replace(TRAINING, steps=3, evaluate_every=3)
    none = SamplesConfig(count=0)
    config = SFTConfig(training=few, samples=none, lora=LoRAConfig(rank=4))
    start_finetuning("imported", ["asked.json"], config, name="adapted")
    start_finetuning("adapted", ["moods.jsonl"], ClassifyConfig(training=few), name="moods")
    lineage = open_run("moods").lineage
    assert chain("moods", lineage) == ["imported (import)", "adapted (sft)", "moods (classify)"]
    assert "the likeliest token agrees" in export_run("adapted", "hf", output=here / "adapted-hf").parity.told
    with pytest.raises(CorpusError, match="its text did not come with it"):
        start_finetuning("imported", [], DistillConfig(training=few, samples=none), name="student")

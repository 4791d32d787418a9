"""Folders in the Hugging Face format become runs; a broken one leaves no run behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from glassgpt.errors import GlassGPTError, InteropError, OfflineError, RunError
from glassgpt.generation.text import GenerationConfig
from glassgpt.interop.imports import import_model
from glassgpt.runs.directory import list_runs
from glassgpt.runs.facts import ChatFacts
from glassgpt.runs.opening import open_run
from glassgpt.runs.summary import summarize
from glassgpt.tokenizers.fast import FastTokenizer

GREEDY = GenerationConfig(temperature=0, max_tokens=8)


def folder_of(kind: str, tokenizer: FastTokenizer, **changes: Any) -> tuple[Path, Any]:
    """Write a random model of transformers to `hf`, with our tokenizer; return the folder and the model."""
    import references

    reference = references.make(kind, vocab_size=tokenizer.vocab_size + 7, **changes)
    reference.save_pretrained("hf", max_shard_size="30KB" if kind == "qwen3" else "1GB")
    tokenizer.save(Path("hf/tokenizer.json"))
    return Path("hf"), reference


def change_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | changes))


@pytest.mark.parametrize("kind", ["gpt2", "llama-tied-biases-head_dim", "mistral", "qwen2", "qwen3"])
def test_the_run_computes_what_transformers_does(kind: str, tokenizer: FastTokenizer) -> None:
    folder, reference = folder_of(kind, tokenizer)
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (kind == "qwen3")
    directory = import_model("hf", name="mine")
    run = open_run("mine")
    ids = torch.randint(tokenizer.vocab_size, (2, 30))
    with torch.no_grad():
        torch.testing.assert_close(run.model(ids), reference(ids).logits, atol=1e-4, rtol=0)
    assert run.tokenizer.fingerprint == tokenizer.fingerprint
    assert run.lineage.kind == "import"
    assert run.lineage.source.name == "hf"
    assert len(run.lineage.source.files["config.json"]) == 64
    assert summarize(directory).state == "imported"
    assert run.complete("The cat", GREEDY) == run.complete("The cat", GREEDY)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_kept_as_the_float32_they_are(tokenizer: FastTokenizer, dtype: torch.dtype) -> None:
    _, reference = folder_of("llama", tokenizer)
    reference.to(dtype).save_pretrained("hf")
    import_model("hf", name="half")
    weight = open_run("half").model.token_embedding.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, reference.model.embed_tokens.weight.float())


def test_names_without_their_first_part_are_found(tokenizer: FastTokenizer) -> None:
    from safetensors.torch import load_file, save_file

    folder_of("gpt2", tokenizer)
    weights = load_file("hf/model.safetensors")
    save_file({name.removeprefix("transformer."): weights[name] for name in weights}, "hf/model.safetensors")
    import_model("hf", name="bare")
    assert open_run("bare").model.num_parameters() > 0


def test_ids_beyond_the_tokenizer_are_never_written(tokenizer: FastTokenizer) -> None:
    folder_of("llama", tokenizer)
    import_model("hf", name="padded")
    run = open_run("padded")
    assert run.model.config.vocab_size == tokenizer.vocab_size + 7
    with torch.no_grad():  # those ids would always win
        run.model.head.weight[tokenizer.vocab_size :] *= 100
    run.complete(["The", ""] * 4, GenerationConfig(temperature=5.0, max_tokens=20, seed=1))


def test_a_prompt_begins_as_its_tokenizer_begins(tokenizer: FastTokenizer) -> None:
    folder_of("llama", tokenizer)
    content = json.loads(tokenizer.json)
    end = content["added_tokens"][0]["content"]
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": end, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {end: {"id": end, "ids": [tokenizer.end_of_text], "tokens": [end]}},
    }
    import_model("hf", name="without")
    Path("hf/tokenizer.json").write_text(json.dumps(content))
    import_model("hf", name="with")
    assert open_run("without").begin == []
    assert open_run("with").begin == [tokenizer.end_of_text]


def test_a_chat_template_and_its_end_come_along(tokenizer: FastTokenizer) -> None:
    folder_of("llama", tokenizer)
    cat = tokenizer.encode(" cat")[0]
    change_json(Path("hf/generation_config.json"), eos_token_id=[tokenizer.end_of_text, cat])
    change_json(Path("hf/tokenizer_config.json"), chat_template="<|im_start|>{{ messages }}")
    directory = import_model("hf", name="chats")
    assert directory.chat_template.read_text() == "<|im_start|>{{ messages }}"
    assert open_run("chats").lineage.chat == ChatFacts(template="chatml", stop=[" cat"])


def remove(name: str) -> Any:
    return lambda: Path("hf", name).unlink()


def pickle_weights() -> None:
    Path("hf/model.safetensors").rename("hf/pytorch_model.bin")


def truncate_weights() -> None:
    path = Path("hf/model.safetensors")
    path.write_bytes(path.read_bytes()[:-100])


def lose_a_shard() -> None:
    Path("hf/model.safetensors").rename("hf/one.safetensors")
    change_json(
        Path("hf/model.safetensors.index.json"), weight_map={"a": "one.safetensors", "b": "two.safetensors"}
    )


def garble_json() -> None:
    Path("hf/config.json").write_text("{")


def another_architecture() -> None:
    change_json(Path("hf/config.json"), model_type="mamba")


def another_width() -> None:
    change_json(Path("hf/config.json"), intermediate_size=50)


def more_layers() -> None:
    change_json(Path("hf/config.json"), num_hidden_layers=3)


def small_vocabulary() -> None:
    change_json(Path("hf/config.json"), vocab_size=20)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (remove("tokenizer.json"), "--tokenizer"),
        (remove("config.json"), "config.json"),
        (remove("model.safetensors"), "no weights"),
        (pickle_weights, "save_pretrained"),
        (truncate_weights, "truncated"),
        (lose_a_shard, "two.safetensors"),
        (garble_json, "JSON"),
        (another_architecture, "mamba"),
        (another_width, "shape"),
        (more_layers, "model.layers.2"),
        (small_vocabulary, "shape"),
    ],
)
def test_what_is_broken_is_said_and_leaves_no_run(damage: Any, named: str, tokenizer: FastTokenizer) -> None:
    folder_of("llama", tokenizer)
    damage()
    with pytest.raises(GlassGPTError, match=named):
        import_model("hf", name="broken")
    assert not list_runs()
    assert not Path("runs/broken").exists()


def test_a_failure_while_writing_leaves_no_run(
    tokenizer: FastTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glassgpt.interop.tensors import TensorFiles

    folder_of("llama", tokenizer)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TensorFiles, "read", fail)
    with pytest.raises(KeyboardInterrupt):
        import_model("hf", name="half-made")
    assert not Path("runs/half-made").exists()


def test_a_tokenizer_of_more_ids_than_the_model_is_refused(tokenizer: FastTokenizer) -> None:
    import references

    references.make("llama").save_pretrained("hf")  # 97 ids
    tokenizer.save(Path("hf/tokenizer.json"))
    with pytest.raises(InteropError, match="belong together"):
        import_model("hf")


def test_a_tokenizer_can_be_given(tokenizer: FastTokenizer) -> None:
    folder_of("llama", tokenizer)
    Path("hf/tokenizer.json").rename("other.json")
    import_model("hf", name="given", tokenizer="other.json")
    assert open_run("given").tokenizer.fingerprint == tokenizer.fingerprint


def test_no_run_is_overwritten(tokenizer: FastTokenizer) -> None:
    folder_of("llama", tokenizer)
    import_model("hf", name="once")
    with pytest.raises(RunError, match="exists already"):
        import_model("hf", name="once")
    assert import_model("hf").name == "hf-1"
    assert import_model("hf").name == "hf-2"


@pytest.mark.parametrize("name", ["some/model", "gpt2"])
def test_without_a_network_it_says_what_to_do(name: str) -> None:
    with pytest.raises(OfflineError, match="hf download"):
        import_model(name)


def test_a_place_that_is_not_there() -> None:
    with pytest.raises(InteropError, match="no folder"):
        import_model("not/a/model")

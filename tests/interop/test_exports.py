"""Exports are opened by the programs they are for: transformers, llama.cpp, onnxruntime."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glassgpt import files
from glassgpt.errors import GlassGPTError, InteropError, OutputError
from glassgpt.generation.text import GenerationConfig, prompt_ids
from glassgpt.interop.exports import export_run
from glassgpt.interop.imports import import_model
from glassgpt.interop.parity import compare, expect
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.opening import open_run
from glassgpt.tokenizers.fast import FastTokenizer
from tests.fixtures.quick import quick

GPT2 = {"positions": "learned", "norm": "layernorm", "activation": "gelu_tanh", "qk_norm": False}
BIASES = {"qkv_bias": True, "attention_bias": True, "mlp_bias": True}
LLAMA3 = {"rope_scaling": "llama3", "rope_factor": 8.0, "rope_original_length": 16}
MODELS: dict[str, dict[str, Any]] = {
    "nano": {"n_kv_head": 2},
    "nano-wide-heads": {"n_head_dim": 24},
    "llama": {"qk_norm": False, "tied_head": False},
    "llama3-rope-biases": {"qk_norm": False, **BIASES, **LLAMA3},
    "linear-rope": {"rope_scaling": "linear", "rope_factor": 4.0},
    "qwen2": {"qk_norm": False, "qkv_bias": True},
    "gpt2": {**GPT2, **BIASES, "norm_bias": True},
    "gpt2-bare-untied": {**GPT2, "tied_head": False},
}
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
TEXTS = ("The cat sat", "  It's 12,345\n\n\tnaïve 🙂", "", "def f(x):\n    return x")


@pytest.fixture
def chatty(make_run: Any, chat_tokenizer: FastTokenizer) -> RunDirectory:
    """A chat run whose answers end with `<|im_end|>`."""
    run = make_run(own=chat_tokenizer)
    files.write_text(run.chat_template, TEMPLATE)
    chat = {"template": "chatml", "stop": ["<|im_end|>"]}
    files.write_json(run.lineage, files.read_json(run.lineage) | {"chat": chat})
    return run


@pytest.mark.parametrize("kind", MODELS)
def test_llama_cpp_writes_what_we_write(kind: str, make_run: Any) -> None:
    make_run(**MODELS[kind])
    done = export_run("tiny", "gguf")
    assert done.path == Path("tiny-f32.gguf")
    assert "16 of 16 greedy tokens are the same" in done.parity.line()
    assert not done.notes


@pytest.mark.parametrize("kind", ["nano", "gpt2"])
@pytest.mark.parametrize("dtype", quick(["f16", "q8_0"], "q8_0"))
def test_gguf_in_fewer_bits(kind: str, dtype: str, make_run: Any) -> None:
    make_run(**MODELS[kind])
    done = export_run("tiny", "gguf", dtype=dtype)
    assert "llama.cpp" in done.parity.line()
    exact = export_run("tiny", "gguf")
    assert done.path.stat().st_size < exact.path.stat().st_size
    assert bool(done.notes) == (kind == "nano" and dtype == "q8_0")  # its MLP is 176 wide
    assert all("stay in f16" in note for note in done.notes)


def test_gguf_numbers_are_ours(make_run: Any) -> None:
    """The check where llama.cpp is not installed: the file's numbers are ours, rounded to its type."""
    from glassgpt.architectures.llama_cpp import pieces
    from glassgpt.interop.gguf_check import read_back
    from glassgpt.interop.gguf_file import _numpy, _tensors, write_gguf

    make_run(**MODELS["gpt2"])
    run = open_run("tiny")
    ours = run.model.state_dict()
    made = pieces(run.model.config, {name: tuple(tensor.shape) for name, tensor in ours.items()})
    tensors = _tensors(run.model.config, made, ours)
    for dtype, most in (("f32", 0.0), ("f16", 5e-4), ("q8_0", 5e-3)):
        write_gguf(run, Path(f"{dtype}.gguf"), dtype)
        assert read_back(Path(f"{dtype}.gguf"), lambda name: _numpy(tensors[name][1]())) <= most


def test_gguf_carries_template_ends_and_tokens(chatty: RunDirectory, chat_tokenizer: FastTokenizer) -> None:
    import gguf

    reader = gguf.GGUFReader(export_run("tiny", "gguf").path)
    read = {name: field.contents() for name, field in reader.fields.items()}
    assert read["tokenizer.chat_template"] == TEMPLATE
    assert read["tokenizer.ggml.eos_token_id"] == chat_tokenizer.vocab_size - 1
    assert read["tokenizer.ggml.pre"] == "gpt-2"
    assert not read["tokenizer.ggml.add_bos_token"]  # its tokenizer puts nothing before a text
    assert len(read["tokenizer.ggml.tokens"]) == chat_tokenizer.vocab_size + 5
    assert read["tokenizer.ggml.token_type"][-7:] == [3] * 2 + [5] * 5  # special ones, and ids beyond all


def test_llama_cpp_answers_after_the_template(chatty: RunDirectory, chat_tokenizer: FastTokenizer) -> None:
    from glassgpt.interop.llama_server import Llama

    llama = Llama(export_run("tiny", "gguf").path, context=64)
    prompt = llama.ask("apply-template", messages=[{"role": "user", "content": "Hello"}])["prompt"]
    assert prompt == "<|im_start|>Hello<|im_end|>"
    ids = llama.ask("tokenize", content=prompt, parse_special=True)["tokens"]
    assert ids == chat_tokenizer.encode(prompt, allow_special=True)


@pytest.mark.parametrize("to", quick(["hf", "gguf"], "gguf"))
def test_gpt2s_own_vocabulary_travels(
    to: Any, make_run: Any, tiktoken_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its 50,257 ids and 50,000 merges: both programs cut a text as we do."""
    from glassgpt.interop.llama_server import Llama
    from glassgpt.tokenizers.load import load_tokenizer

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tiktoken_cache))
    own = load_tokenizer("gpt2")
    make_run(own=own, n_embd=8, n_layer=1, n_head=2, n_hidden=8)
    path = export_run("tiny", to).path
    text = Path(__file__).read_text(encoding="utf-8") + " Żółć,\u00a0ﬀ\u200b 你好  \t\n 3.14159"
    if to == "gguf":
        assert Llama(path).tokenize(text) == own.encode(text)
    else:
        import transformers

        assert transformers.AutoTokenizer.from_pretrained(path).encode(text) == own.encode(text)


@pytest.mark.parametrize("documents", [1, 5])
def test_llama_cpp_begins_a_prompt_as_we_do(documents: int, make_run: Any) -> None:
    """A run trained on documents puts the end of text before each; one trained on a single text does not."""
    from glassgpt.interop.llama_server import Llama

    run = make_run()
    lineage = files.read_json(run.lineage)
    del lineage["begin"], lineage["documents"]
    files.write_json(run.lineage, lineage | {"data": {"sources": [], "splits": {}, "documents": documents}})
    opened, llama = open_run("tiny"), Llama(export_run("tiny", "gguf").path, context=64)
    ids = llama.ask("tokenize", content="The cat", add_special=True)["tokens"]
    assert ids == prompt_ids(opened.tokenizer, "The cat", documents=documents > 1)


@pytest.mark.parametrize("pattern", ["llama3", "qwen2"])
def test_gguf_with_other_patterns(pattern: str, make_run: Any, make_tokenizer: Any) -> None:
    make_run(own=make_tokenizer(pattern=pattern))
    assert "16 of 16" in export_run("tiny", "gguf").parity.line()


@pytest.mark.parametrize("kind", MODELS)
def test_transformers_opens_the_folder(kind: str, make_run: Any) -> None:
    import transformers

    make_run(**MODELS[kind])
    path = export_run("tiny", "hf").path
    run = open_run("tiny")
    model = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    ids = torch.randint(run.tokenizer.vocab_size, (2, 30))
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, run.model(ids), atol=1e-4, rtol=0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    for text in TEXTS:
        assert tokenizer.encode(text) == run.tokenizer.encode(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert files.broken_seal(path) is None


def test_there_and_back_again(make_run: Any) -> None:
    first = make_run(**MODELS["nano"])
    export_run("tiny", "hf", output=Path("out"))
    second = import_model("out", name="back")
    assert files.hash_file(first.weights) == files.hash_file(second.weights)
    assert first.tokenizer.read_text() == second.tokenizer.read_text()
    greedy = GenerationConfig(temperature=0, max_tokens=10)
    assert open_run("back").complete("The", greedy) == open_run("tiny").complete("The", greedy)


def test_a_folder_carries_template_and_ends(chatty: RunDirectory, chat_tokenizer: FastTokenizer) -> None:
    import transformers

    path = export_run("tiny", "hf").path
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    message = [{"role": "user", "content": "Hello"}]
    assert tokenizer.apply_chat_template(message, tokenize=False) == "<|im_start|>Hello<|im_end|>"
    stop = chat_tokenizer.vocab_size - 1
    assert tokenizer.apply_chat_template(message)["input_ids"][-1] == stop
    ends = transformers.GenerationConfig.from_pretrained(path).eos_token_id
    assert ends == [chat_tokenizer.end_of_text, stop]
    assert tokenizer.eos_token_id == stop
    again = import_model(str(path), name="again")
    assert files.read_json(again.lineage)["chat"] == {"template": "chatml", "stop": ["<|im_end|>"]}


def test_a_folder_in_halves(make_run: Any) -> None:
    from safetensors.torch import load_file

    make_run()
    path = export_run("tiny", "hf", dtype="f16").path
    assert {tensor.dtype for tensor in load_file(path / "model.safetensors").values()} == {torch.float16}
    assert json.loads((path / "config.json").read_text())["dtype"] == "float16"


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [MODELS["nano"], {"activation": "relu2", "positions": "sinusoidal", "attention": "strided", "stride": 4}],
)
def test_onnxruntime_runs_the_graph_at_any_size(settings: dict[str, Any], make_run: Any) -> None:
    import onnxruntime

    make_run(**settings)
    done = export_run("tiny", "onnx")
    assert "onnxruntime" in done.parity.line()
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    model = open_run("tiny").model
    for shape in ((1, 1), (1, 64), (3, 7)):
        ids = torch.randint(200, shape)
        with torch.no_grad():
            (logits,) = session.run(None, {"ids": ids.numpy()})
            torch.testing.assert_close(torch.from_numpy(logits), model(ids), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_large_weights_are_stored_beside_their_graph(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    from glassgpt.interop import onnx_file

    monkeypatch.setattr(onnx_file, "BESIDE_FROM", 0)
    make_run(**MODELS["nano"])
    done = export_run("tiny", "onnx")
    beside = done.path.with_name(f"{done.path.name}.data")
    assert beside.stat().st_size > done.path.stat().st_size
    assert "keep the two files together" in done.notes[0]
    assert not list(done.path.parent.glob(".onnx-*"))
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    ids = torch.randint(200, (2, 5))
    with torch.no_grad():
        (logits,) = session.run(None, {"ids": ids.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), open_run("tiny").model(ids), atol=1e-4, rtol=0)


def test_word_and_char_folders_give_the_same_ids(make_run: Any, make_tokenizer: Any) -> None:
    import transformers

    for kind in ("char", "word", "wordpiece"):
        own = make_tokenizer(kind=kind)
        make_run(kind, own=own)
        tokenizer = transformers.AutoTokenizer.from_pretrained(export_run(kind, "hf").path)
        text = "The cat sat on the log."
        assert tokenizer.encode(text) == own.encode(text)
        assert tokenizer.decode(tokenizer.encode(text)) == own.decode(own.encode(text))


@pytest.mark.parametrize(
    ("settings", "to", "dtype", "named"),
    [
        ({"activation": "relu2"}, "hf", "f32", "activation = 'relu2'"),
        ({"activation": "relu2"}, "gguf", "f32", "--to onnx"),
        ({"attention": "sliding", "window": 8}, "gguf", "f32", "window = 8"),
        ({"attention": "sliding", "window": 8, "qk_norm": False, "qkv_bias": True}, "hf", "f32", "qwen2"),
        ({}, "hf", "q8_0", "f32 or f16"),
        ({}, "gguff", "f32", "gguf"),
    ],
)
def test_what_a_format_cannot_hold_is_said_and_leaves_nothing(
    settings: dict[str, Any], to: Any, dtype: Any, named: str, make_run: Any
) -> None:
    make_run(**settings)
    with pytest.raises(GlassGPTError, match=named):
        export_run("tiny", to, output=Path("out"), dtype=dtype)
    assert sorted(path.name for path in Path().iterdir()) == ["runs"]


def test_gguf_refuses_other_kinds_of_tokenizer(make_run: Any, make_tokenizer: Any) -> None:
    make_run(own=make_tokenizer(kind="char"))
    with pytest.raises(InteropError, match=r"--tokenizer\.kind bpe"):
        export_run("tiny", "gguf")
    assert not list(Path().glob("*.gguf"))


def test_nothing_is_overwritten(make_run: Any) -> None:
    make_run()
    Path("out").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        export_run("tiny", "hf", output=Path("out"))
    assert Path("out").read_text() == "mine"


def test_a_wrong_export_is_noticed(make_run: Any) -> None:
    make_run()
    expected = expect(open_run("tiny"))
    compare(expected, expected.logits_BTV + 1e-4, by="it", dtype="f32")
    with pytest.raises(InteropError, match="wrong"):
        compare(expected, expected.logits_BTV + 1, by="it", dtype="f32")
    with pytest.raises(InteropError, match="wrong"):
        compare(expected, expected.logits_BTV * torch.nan, by="it", dtype="f32")


def test_a_wrong_gguf_is_noticed_and_removed(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from glassgpt.architectures import llama_cpp

    make_run(qk_norm=False)
    monkeypatch.setattr(llama_cpp, "pair_neighbours", lambda rows, heads: rows)
    with pytest.raises(InteropError, match="continues a text differently"):
        export_run("tiny", "gguf")
    assert not list(Path().glob("*.gguf"))


def test_another_cut_is_noticed(make_run: Any) -> None:
    from glassgpt.interop.gguf_check import check_gguf
    from glassgpt.interop.gguf_file import write_gguf

    make_run()
    run = open_run("tiny")
    write_gguf(run, Path("a.gguf"), "f32")
    with pytest.raises(InteropError, match="other tokens"):
        check_gguf(Path("a.gguf"), replace(expect(run), texts={"Hello": [1, 2]}), "f32")


@pytest.mark.parametrize("dtype", ["f32", "q8_0"])
def test_without_llama_cpp_the_file_is_read_back(
    dtype: Any, make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    make_run()
    done = export_run("tiny", "gguf", dtype=dtype)
    assert "xllamacpp" in done.parity.line()
    assert done.parity.line().startswith("Not run")
    assert ("at most 0.0e+00" in done.notes[-1]) == (dtype == "f32")


def test_the_smallest_contexts_travel(make_run: Any) -> None:
    make_run(context_length=1)
    assert export_run("tiny", "hf").parity.by
    assert export_run("tiny", "gguf").parity.by


@pytest.mark.parametrize("template", ["{% if", "{{ messages | frobnicate }}"])
def test_a_template_that_llama_cpp_cannot_read_is_named(template: str, make_run: Any) -> None:
    """For a run with a template from elsewhere, the error said to report a file that llama.cpp "cannot open"."""
    run = make_run()
    files.write_text(run.chat_template, template)
    with pytest.raises(InteropError, match=r"chat_template\.jinja"):
        export_run("tiny", "gguf")
    assert not list(Path().glob("*.gguf"))


def test_files_beside_an_output_stay(make_run: Any) -> None:
    """A failed export removed `NAME.data`, and one to ONNX overwrote it, whatever it was."""
    make_run(activation="relu2")
    Path("out.data").write_text("mine")
    with pytest.raises(GlassGPTError, match="relu2"):
        export_run("tiny", "gguf", output=Path("out"))
    with pytest.raises(GlassGPTError, match=r"out\.data exists already"):
        export_run("tiny", "onnx", output=Path("out"))
    assert Path("out.data").read_text() == "mine"


def test_no_output_goes_into_the_run(make_run: Any) -> None:
    make_run()
    for place in ("runs/tiny/hf", "runs/../runs/tiny/a/b"):
        with pytest.raises(InteropError, match="inside the run"):
            export_run("tiny", "hf", output=Path(place))


def test_a_place_that_cannot_be_is_named_and_hides_nothing(make_run: Any) -> None:
    make_run()
    Path("file").write_text("here")
    for to in ("hf", "gguf", "onnx"):
        with pytest.raises(GlassGPTError, match="file"):
            export_run("tiny", to, output=Path("file/out"))
    assert sorted(path.name for path in Path().iterdir()) == ["file", "runs"]


@pytest.mark.slow
def test_a_program_that_fails_on_an_export_is_an_error(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fails)
    make_run()
    with pytest.raises(InteropError, match=r"onnxruntime fails on it \(RuntimeError: no such operator"):
        export_run("tiny", "onnx")
    assert not Path("tiny.onnx").exists()


KILLED = """
    import os, signal
    from pathlib import Path
    from glassgpt.interop import exports

    def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    exports.{moment} = killed
    exports.export_run("tiny", "{to}", output=Path("out"), force=True)
"""


def killed_while_replacing(to: str, moment: str) -> None:
    script = textwrap.dedent(KILLED).format(to=to, moment=moment)
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (path.iterdir() if path.is_dir() else [path])}


@pytest.mark.parametrize("to", ["hf", *(pytest.param(to, marks=pytest.mark.slow) for to in ("gguf", "onnx"))])
def test_an_export_that_was_killed_leaves_nothing_hidden_and_loses_nothing(make_run: Any, to: Any) -> None:
    """The earlier export stayed hidden beside its place forever: as large as the model, and out of reach."""
    make_run()
    output = Path("out")
    export_run("tiny", to, output=output)
    before = content(output)
    there = sorted(path.name for path in Path().iterdir())
    killed_while_replacing(to, "_write")
    assert not output.exists()
    with pytest.raises(OutputError, match="exists already"):  # it is back at its place
        export_run("tiny", to, output=output)
    assert content(output) == before
    assert sorted(path.name for path in Path().iterdir()) == there
    killed_while_replacing(to, "_write")
    export_run("tiny", to, output=output, force=True)
    assert sorted(path.name for path in Path().iterdir()) == there
    killed_while_replacing(to, "_check")  # the new one is whole, and was not checked yet
    assert output.exists()
    assert len(list(Path().iterdir())) == len(there) + 1
    export_run("tiny", to, output=output, force=True)
    assert sorted(path.name for path in Path().iterdir()) == there


@pytest.mark.slow
def test_large_weights_come_back_together_with_their_graph(make_run: Any) -> None:
    """Both places of an export are restored, or none: an old graph with new weights would compute nonsense."""
    make_run()
    for name in ("out", "out.data"):
        Path(name).write_text(f"old {name}")
    killed_while_replacing("onnx", "_write")
    assert sorted(path.name for path in Path().iterdir() if "out" in path.name and path.name[0] != ".") == []
    with pytest.raises(OutputError, match="exists already"):
        export_run("tiny", "onnx", output=Path("out"))
    assert [Path(name).read_text() for name in ("out", "out.data")] == ["old out", "old out.data"]
    killed_while_replacing("onnx", "_write")
    Path("out.data").write_text("new")
    export_run("tiny", "onnx", output=Path("out"), force=True)
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []

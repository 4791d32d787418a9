"""Weights of models written by hand in three ways; each is computed here as in its tutorial."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassgpt.errors import CorpusError, GlassGPTError, InteropError
from glassgpt.generation.text import GenerationConfig
from glassgpt.interop.notebooks import import_notebook, is_notebook
from glassgpt.runs.directory import list_runs
from glassgpt.runs.opening import open_run
from glassgpt.tokenizers.fast import FastTokenizer

V, C, T, H, N = 300, 16, 12, 4, 2


class ByHand(nn.Module):
    """A GPT after one of the tutorials: they differ only in names and biases."""

    def __init__(self, names: dict[str, str], *, bias: bool, act: Any, tied: bool = False) -> None:
        super().__init__()
        self.names, self.act, self.tied = names, act, tied
        table: dict[str, Tensor] = {names["tok"]: torch.randn(V, C), names["pos"]: torch.randn(T, C)}
        for layer in range(N):
            at = names["block"].format(layer)
            for part in ("q", "k", "v"):
                for head in range(H) if "{}" in names[part] else [None]:
                    rows = C if head is None else C // H
                    table[at + names[part].format(head) + ".weight"] = torch.randn(rows, C) / 4
            for part, rows, columns in (("o", C, C), ("up", 4 * C, C), ("down", C, 4 * C)):
                table[at + names[part] + ".weight"] = torch.randn(rows, columns) / 4
                if bias:
                    table[at + names[part] + ".bias"] = torch.randn(rows)
            for part in ("n1", "n2"):
                table[at + names[part] + names["w"]] = torch.randn(C)
                table[at + names[part] + names["b"]] = torch.randn(C)
            table[at + names["mask"]] = torch.ones(T, T).tril()
        table[names["nf"] + names["w"]], table[names["nf"] + names["b"]] = torch.randn(C), torch.randn(C)
        table[names["head"] + ".weight"] = table[names["tok"]] if tied else torch.randn(V, C) / 4
        if names["head"] == "lm_head" and "heads" in names["q"]:
            table["lm_head.bias"] = torch.randn(V)
        self.table = table

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.table[name + ".weight"], self.table.get(name + ".bias"))

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.table[name + self.names["w"]], self.table[name + self.names["b"]]
        return F.layer_norm(x, (C,), weight, bias, 1e-5)

    def project(self, x: Tensor, at: str, part: str) -> Tensor:
        name = self.names[part]
        if "{}" not in name:
            return self.linear(x, at + name)
        return torch.cat([self.linear(x, at + name.format(head)) for head in range(H)], -1)

    def forward(self, ids: Tensor) -> Tensor:
        names = self.names
        x = self.table[names["tok"]][ids] + self.table[names["pos"]][: ids.shape[1]]
        for layer in range(N):
            at = names["block"].format(layer)
            h = self.norm(x, at + names["n1"])
            q, k, v = (self.project(h, at, part).unflatten(-1, (H, -1)).transpose(1, 2) for part in "qkv")
            scores = q @ k.transpose(-1, -2) / math.sqrt(C // H)
            scores = scores.masked_fill(torch.ones(ids.shape[1], ids.shape[1]).triu(1).bool(), -torch.inf)
            x = x + self.linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), at + names["o"])
            h = self.norm(x, at + names["n2"])
            x = x + self.linear(self.act(self.linear(h, at + names["up"])), at + names["down"])
        return self.linear(self.norm(x, names["nf"]), names["head"])


def gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


SCRATCH = {
    "tok": "tok_emb.weight", "pos": "pos_emb.weight", "block": "trf_blocks.{}.", "q": "att.W_query",
    "k": "att.W_key", "v": "att.W_value", "o": "att.out_proj", "up": "ff.layers.0", "down": "ff.layers.2",
    "n1": "norm1", "n2": "norm2", "w": ".scale", "b": ".shift", "nf": "final_norm", "head": "out_head",
    "mask": "att.mask",
}  # fmt: skip
BUILD = {
    "tok": "token_embedding_table.weight", "pos": "position_embedding_table.weight", "block": "blocks.{}.",
    "q": "sa.heads.{}.query", "k": "sa.heads.{}.key", "v": "sa.heads.{}.value", "o": "sa.proj",
    "up": "ffwd.net.0", "down": "ffwd.net.2", "n1": "ln1", "n2": "ln2", "w": ".weight", "b": ".bias",
    "nf": "ln_f", "head": "lm_head", "mask": "sa.heads.0.tril",
}  # fmt: skip


@pytest.fixture(autouse=True)
def vocabulary(tokenizer: FastTokenizer) -> None:
    tokenizer.save(Path("vocabulary.json"))


def check(model: Any, source: str, **options: Any) -> Any:
    import_notebook(source, name="mine", tokenizer="vocabulary.json", **options)
    run = open_run("mine")
    ids = torch.randint(run.tokenizer.vocab_size, (2, T))
    with torch.no_grad():
        expected = model(ids)
        torch.testing.assert_close(
            run.model(ids), getattr(expected, "logits", expected), atol=1e-4, rtol=1e-4
        )
    assert run.complete("The")
    return run


@pytest.mark.parametrize("tied", [False, True])
def test_llms_from_scratch(tied: bool) -> None:
    model = ByHand(SCRATCH, bias=True, act=gelu_tanh, tied=tied)
    torch.save(model.table, "model.pth")
    run = check(model, "model.pth", heads=H)
    assert run.config.model.tied_head == tied
    assert run.lineage.source.architecture == "LLMs from scratch"


def test_lets_build_gpt_tells_its_heads_itself() -> None:
    model = ByHand(BUILD, bias=True, act=F.relu)
    torch.save(model.table, "gpt.pt")
    run = check(model, "gpt.pt")
    assert run.config.model.n_head == H
    assert run.config.model.head_bias


def test_a_vocabulary_of_characters() -> None:
    chars = [chr(0x4E00 + number) for number in range(V)]
    Path("input.txt").write_text("".join(reversed(chars)) * 2, encoding="utf-8")
    model = ByHand(BUILD, bias=True, act=F.relu)
    torch.save(model.table, "gpt.pth")
    import_notebook("gpt.pth", name="chars", characters=Path("input.txt"))
    run = open_run("chars")
    assert run.tokenizer.encode("".join(chars)) == list(range(V))
    assert not run.knows_documents
    ids = torch.randint(V, (2, T))
    with torch.no_grad():
        torch.testing.assert_close(run.model(ids)[..., :V], model(ids), atol=1e-4, rtol=1e-4)
        assert (run.model(ids)[..., V:] < -1000).all()
    assert len(run.complete(chars[0], GenerationConfig(max_tokens=30))[0]) == 30  # it never ends by itself
    assert run.complete("", GenerationConfig(max_tokens=2))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_the_characters_are_those_that_python_reads(end: str) -> None:
    """Python reads every line end as one character, so a model of a Windows text has one id for it, not two."""
    chars = sorted(["\n", *(chr(0x4E00 + number) for number in range(V - 1))])
    Path("input.txt").write_bytes("".join(end if char == "\n" else char for char in chars).encode())
    torch.save(ByHand(BUILD, bias=True, act=F.relu).table, "gpt.pth")
    import_notebook("gpt.pth", name="chars", characters=Path("input.txt"))
    assert open_run("chars").tokenizer.encode("\n" + chars[1]) == [0, 1]


def test_characters_in_another_encoding_are_refused_with_the_line_that_converts() -> None:
    """This once ended in a traceback."""
    Path("input.txt").write_bytes("Käse".encode("cp1252"))
    torch.save(ByHand(BUILD, bias=True, act=F.relu).table, "gpt.pth")
    with pytest.raises(
        CorpusError, match=r"input.txt is not valid UTF-8.*iconv -f WINDOWS-1252 .*/input.txt >"
    ):
        import_notebook("gpt.pth", characters=Path("input.txt"))


def test_characters_of_another_text_are_refused() -> None:
    torch.save(ByHand(BUILD, bias=True, act=F.relu).table, "gpt.pth")
    Path("input.txt").write_text("abc")
    with pytest.raises(InteropError, match="3 different characters"):
        import_notebook("gpt.pth", characters=Path("input.txt"))


def test_an_order_of_ten_heads_and_more() -> None:
    """Heads are sorted as numbers: sorted as text, the tenth would come before the second."""
    from glassgpt.interop.notebooks import LAYOUTS, sources_of

    names = [f"blocks.0.sa.heads.{head}.key.weight" for head in range(12)]
    found = sources_of(LAYOUTS[2], dict.fromkeys(reversed(names), torch.zeros(1)))
    assert found["blocks.0.attention.qkv.weight"] == names


@pytest.mark.parametrize("checkpoint", [False, True])
def test_gpt2_of_transformers_saved_by_torch(checkpoint: bool) -> None:
    import references

    model = references.make("gpt2", vocab_size=300)
    weights = {f"_orig_mod.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(
        {"model": weights, "model_args": {"n_head": 4}, "iter_num": 3} if checkpoint else weights, "a.pt"
    )
    run = check(model, "a.pt", heads=None if checkpoint else 4)
    assert run.config.model.activation == "gelu_tanh"
    assert run.config.model.tied_head


def test_nanogpt_keeps_its_matrices_as_we_do() -> None:
    import references

    model = references.make("gpt2", vocab_size=300, activation_function="gelu")
    weights = {
        name: tensor.T.contiguous() if "c_" in name and tensor.dim() == 2 else tensor
        for name, tensor in model.state_dict().items()
    }
    torch.save(weights, "nano.pt")
    assert check(model, "nano.pt", heads=4).config.model.activation == "gelu"


def test_an_activation_can_be_given() -> None:
    model = ByHand(SCRATCH, bias=True, act=F.relu)
    torch.save(model.table, "model.pth")
    check(model, "model.pth", heads=H, activation="relu")


class Whole(nn.Linear):
    """A model that somebody pickled whole."""


def broken(kind: str) -> str:
    table = ByHand(SCRATCH, bias=True, act=F.relu).table
    if kind == "whole":
        torch.save(Whole(2, 2), "m.pth")
    elif kind == "garbage":
        Path("m.pth").write_bytes(b"PK not a checkpoint")
    elif kind == "list":
        torch.save([1, 2], "m.pth")
    elif kind == "strange":
        torch.save({"encoder.weight": torch.zeros(2)}, "m.pth")
    elif kind == "changed":
        torch.save(table | {"trf_blocks.0.att.gate.weight": torch.zeros(2)}, "m.pth")
    elif kind == "incomplete":
        torch.save(
            {name: tensor for name, tensor in table.items() if "ff.layers.2.weight" not in name}, "m.pth"
        )
    elif kind == "good":
        torch.save(table, "m.pth")
    return "m.pth"


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("whole", {}, "state_dict"),
        ("garbage", {}, "plain weights"),
        ("list", {}, "state_dict"),
        ("strange", {}, "encoder.weight"),
        ("changed", {}, "att.gate"),
        ("incomplete", {"heads": 4}, "mlp.down"),
        ("good", {}, "--heads"),
        ("good", {"heads": 3}, "n_head"),
        ("good", {"heads": 4, "tokenizer": None}, "--tokenizer"),
        ("missing", {}, "no file"),
    ],
)
def test_what_cannot_be_read_is_said_and_leaves_no_run(
    kind: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(GlassGPTError, match=named):
        import_notebook(broken(kind), **{"tokenizer": "vocabulary.json", **options})
    assert not list_runs()


def test_nothing_of_a_pickle_is_run() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (Path("exploded"),)

    torch.save({"model": Bomb()}, "bomb.pth")
    with pytest.raises(InteropError, match="run any code"):
        import_notebook("bomb.pth")
    assert not Path("exploded").exists()


def test_gpt2_is_the_usual_vocabulary() -> None:
    from glassgpt.interop.notebook_vocabulary import _usual_tokenizer

    assert _usual_tokenizer(50257) == _usual_tokenizer(50304) == "gpt2"


def test_which_sources_are_notebooks() -> None:
    Path("folder.pt").mkdir()
    assert is_notebook("a/model.pth")
    assert not is_notebook("folder.pt")
    assert not is_notebook("Qwen/Qwen3-0.6B")

"""Imports the weights of a model written by hand after a tutorial: `torch.save(model.state_dict(), "FILE.pth")`.

Nothing states how such a model is built, but the names and shapes of its tensors show it. Three layouts are known:

    LLMs from scratch      tok_emb, pos_emb, trf_blocks.N.att.W_query ... norm1.scale, out_head
    nanoGPT, minGPT        transformer.wte, h.N.attn.c_attn ... lm_head (and GPT-2 of transformers, saved so)
    "Let's build GPT"      token_embedding_table, blocks.N.sa.heads.M.key ... ffwd.net.0, lm_head

Each is a table from its names to ours. Numbers that no shape shows come from options. `state_dicts` reads the file
itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glassgpt.errors import InteropError
from glassgpt.interop.imports import Arrival, settle
from glassgpt.interop.notebook_vocabulary import tokenizer_of, with_special
from glassgpt.interop.state_dicts import read_state_dict, refuse_promised
from glassgpt.interop.tokenizer_fit import notes_on
from glassgpt.model.config import ModelConfig
from glassgpt.model.summary import parameter_shapes
from glassgpt.runs.directory import RunDirectory, refuse_taken
from glassgpt.system import explaining

ENDINGS = (".pth", ".pt", ".ckpt", ".bin")
_BUFFERS = re.compile(r"(^|\.)(mask|tril|masked_bias|attn\.bias)$")


@dataclass(frozen=True)
class Layout:
    """One way to write a GPT: its title, and a table from its names to ours."""

    name: str
    known_by: str
    names: tuple[tuple[str, str], ...]
    """Patterns of its full names, and our name for each. Parts of the fused projection end in a number that gives
    their order."""
    activation: str


_ENDING = r"\.(weight|bias)"
LAYOUTS = (
    Layout(
        "LLMs from scratch",
        "tok_emb.weight",
        (
            (r"tok_emb\.weight", "token_embedding.weight"),
            (r"pos_emb\.weight", "position_embedding.weight"),
            (r"trf_blocks\.([0-9]{1,6})\.att\.W_query" + _ENDING, r"blocks.\1.attention.qkv.\2 0"),
            (r"trf_blocks\.([0-9]{1,6})\.att\.W_key" + _ENDING, r"blocks.\1.attention.qkv.\2 1"),
            (r"trf_blocks\.([0-9]{1,6})\.att\.W_value" + _ENDING, r"blocks.\1.attention.qkv.\2 2"),
            (r"trf_blocks\.([0-9]{1,6})\.att\.out_proj" + _ENDING, r"blocks.\1.attention.output.\2"),
            (r"trf_blocks\.([0-9]{1,6})\.ff\.layers\.0" + _ENDING, r"blocks.\1.mlp.up.\2"),
            (r"trf_blocks\.([0-9]{1,6})\.ff\.layers\.2" + _ENDING, r"blocks.\1.mlp.down.\2"),
            (r"trf_blocks\.([0-9]{1,6})\.norm1\.scale", r"blocks.\1.attention_norm.weight"),
            (r"trf_blocks\.([0-9]{1,6})\.norm1\.shift", r"blocks.\1.attention_norm.bias"),
            (r"trf_blocks\.([0-9]{1,6})\.norm2\.scale", r"blocks.\1.mlp_norm.weight"),
            (r"trf_blocks\.([0-9]{1,6})\.norm2\.shift", r"blocks.\1.mlp_norm.bias"),
            (r"final_norm\.scale", "final_norm.weight"),
            (r"final_norm\.shift", "final_norm.bias"),
            (r"out_head" + _ENDING, r"head.\1"),
        ),
        "gelu_tanh",
    ),
    Layout(
        "nanoGPT",
        "transformer.wte.weight",
        (
            (r"transformer\.wte\.weight", "token_embedding.weight"),
            (r"transformer\.wpe\.weight", "position_embedding.weight"),
            (r"transformer\.h\.([0-9]{1,6})\.ln_1" + _ENDING, r"blocks.\1.attention_norm.\2"),
            (r"transformer\.h\.([0-9]{1,6})\.attn\.c_attn" + _ENDING, r"blocks.\1.attention.qkv.\2"),
            (r"transformer\.h\.([0-9]{1,6})\.attn\.c_proj" + _ENDING, r"blocks.\1.attention.output.\2"),
            (r"transformer\.h\.([0-9]{1,6})\.ln_2" + _ENDING, r"blocks.\1.mlp_norm.\2"),
            (r"transformer\.h\.([0-9]{1,6})\.mlp\.c_fc" + _ENDING, r"blocks.\1.mlp.up.\2"),
            (r"transformer\.h\.([0-9]{1,6})\.mlp\.c_proj" + _ENDING, r"blocks.\1.mlp.down.\2"),
            (r"transformer\.ln_f" + _ENDING, r"final_norm.\1"),
            (r"lm_head" + _ENDING, r"head.\1"),
        ),
        "gelu",
    ),
    Layout(
        "Let's build GPT",
        "token_embedding_table.weight",
        (
            (r"token_embedding_table\.weight", "token_embedding.weight"),
            (r"position_embedding_table\.weight", "position_embedding.weight"),
            (
                r"blocks\.([0-9]{1,6})\.sa\.heads\.([0-9]{1,6})\.query" + _ENDING,
                r"blocks.\1.attention.qkv.\3 0 \2",
            ),
            (
                r"blocks\.([0-9]{1,6})\.sa\.heads\.([0-9]{1,6})\.key" + _ENDING,
                r"blocks.\1.attention.qkv.\3 1 \2",
            ),
            (
                r"blocks\.([0-9]{1,6})\.sa\.heads\.([0-9]{1,6})\.value" + _ENDING,
                r"blocks.\1.attention.qkv.\3 2 \2",
            ),
            (r"blocks\.([0-9]{1,6})\.sa\.proj" + _ENDING, r"blocks.\1.attention.output.\2"),
            (r"blocks\.([0-9]{1,6})\.ffwd\.net\.0" + _ENDING, r"blocks.\1.mlp.up.\2"),
            (r"blocks\.([0-9]{1,6})\.ffwd\.net\.2" + _ENDING, r"blocks.\1.mlp.down.\2"),
            (r"blocks\.([0-9]{1,6})\.ln1" + _ENDING, r"blocks.\1.attention_norm.\2"),
            (r"blocks\.([0-9]{1,6})\.ln2" + _ENDING, r"blocks.\1.mlp_norm.\2"),
            (r"ln_f" + _ENDING, r"final_norm.\1"),
            (r"lm_head" + _ENDING, r"head.\1"),
        ),
        "relu",
    ),
)


def is_notebook(source: str) -> bool:
    """Return whether a source is a file that `torch.save` may have written."""
    return Path(source).suffix in ENDINGS and not Path(source).is_dir()


@explaining
def import_notebook(
    source: str,
    *,
    name: str | None = None,
    tokenizer: str | None = None,
    heads: int | None = None,
    activation: str | None = None,
    characters: Path | None = None,
) -> RunDirectory:
    """Make a run from a file with a `state_dict`; return the run.

    `characters` is the text whose sorted characters are the vocabulary, where the notebook made it that way.
    Raises `InteropError` for anything that cannot be read, recognised or inferred, naming the option that sets it.
    """
    if name is not None:
        refuse_taken(name)
    path = Path(source)
    weights, told = read_state_dict(path)
    layout = recognise(weights)
    sources = sources_of(layout, weights)
    refuse_promised({name: weights[name] for names in sources.values() for name in names}, path)
    turned = _is_turned(weights)
    shapes = {ours: _shape(ours, names, weights, turned) for ours, names in sources.items()}
    known_heads = heads or told.n_head or _count_heads(weights)
    usual = "gelu_tanh" if turned or (_has_mask(weights) and layout.name == "nanoGPT") else layout.activation
    tied = _is_tied(weights, sources)
    config = config_of(shapes, heads=known_heads, activation=activation or usual, tied=tied)
    _check_shapes(config, shapes)
    vocabulary = tokenizer_of(tokenizer, characters, config.vocab_size)
    arrival = Arrival(
        name=path.stem,
        architecture=layout.name,
        config=config,
        tokenizer=vocabulary,
        make=lambda ours: _join(sources[ours], weights, turned and ours.startswith("blocks.")),
        sources=(path,),
        notes=notes_on(vocabulary, config.vocab_size, {}) if characters is None else [],
    )
    return settle(arrival if characters is None else with_special(arrival), name)


def recognise(weights: Mapping[str, Tensor]) -> Layout:
    """Return the layout of the names. Raises `InteropError` when they belong to none."""
    for layout in LAYOUTS:
        if layout.known_by in weights:
            return layout
    raise InteropError(
        f"These names of weights do not belong to a known GPT layout: {', '.join(list(weights)[:4])} ... "
        f"The known layouts are {'; '.join(layout.name for layout in LAYOUTS)}. Rename the tensors to one of them."
    )


def sources_of(layout: Layout, weights: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return, for each of our tensors, the names of their tensors that are stacked in it, in order."""
    found: dict[str, list[tuple[list[int], str]]] = defaultdict(list)
    for name in weights:
        if _BUFFERS.search(name):
            continue
        ours = next(_renamed(layout, name), None)
        if ours is None:
            raise InteropError(
                f"{name} has no place in a model after {layout.name}: this one was changed in a way that GlassGPT "
                "does not know."
            )
        target, *order = ours.split(" ")
        found[target].append(([int(number) for number in order], name))
    return {target: [name for _, name in sorted(parts)] for target, parts in found.items()}


def config_of(
    shapes: Mapping[str, tuple[int, ...]], *, heads: int | None, activation: str, tied: bool
) -> ModelConfig:
    """Return the config that our tensors' shapes show. Raises `InteropError` when the number of heads is unknown."""
    missing = {"token_embedding.weight", "position_embedding.weight", "blocks.0.mlp.up.weight"} - set(shapes)
    if missing:
        raise InteropError(f"The weights are not complete: {', '.join(sorted(missing))} is not among them.")
    layers = {int(name.split(".")[1]) for name in shapes if name.startswith("blocks.")}
    if layers != set(range(len(layers))):
        raise InteropError(
            f"The weights are not complete: they have a layer {max(layers):,}, but only {len(layers):,} layers in all."
        )
    if heads is None:
        raise InteropError(
            "The weights do not show the number of attention heads. Give it with --heads (GPT-2's "
            "smallest has 12)."
        )
    vocab_size, width = shapes["token_embedding.weight"]
    hidden = shapes["blocks.0.mlp.up.weight"][0]
    return ModelConfig(
        vocab_size=vocab_size,
        context_length=shapes["position_embedding.weight"][0],
        n_layer=len(layers),
        n_head=heads,
        n_embd=width,
        n_hidden=None if hidden == 4 * width else hidden,
        positions="learned",
        norm="layernorm",
        norm_epsilon=1e-5,
        activation=activation,
        qk_norm=False,
        qkv_bias="blocks.0.attention.qkv.bias" in shapes,
        attention_bias="blocks.0.attention.output.bias" in shapes,
        mlp_bias="blocks.0.mlp.up.bias" in shapes,
        norm_bias="final_norm.bias" in shapes,
        head_bias="head.bias" in shapes,
        tied_head=tied,
    )


def _renamed(layout: Layout, name: str) -> Iterator[str]:
    for pattern, ours in layout.names:
        match = re.fullmatch(pattern, name)
        if match:
            yield match.expand(ours)


def _join(names: list[str], weights: Mapping[str, Tensor], turned: bool) -> Tensor:
    parts = [weights[name].float() for name in names]
    parts = [part.T if turned and part.dim() == 2 else part for part in parts]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _shape(ours: str, names: list[str], weights: Mapping[str, Tensor], turned: bool) -> tuple[int, ...]:
    dimensions = 1 + (ours.endswith(".weight") and "norm" not in ours)
    first, *rest = [tuple(weights[name].shape) for name in names]
    wrong = [shape for shape in (first, *rest) if len(shape) != dimensions or shape[1:] != first[1:]]
    if wrong:
        raise InteropError(f"{names[0]} has the shape {wrong[0]}, which this part of a GPT cannot have.")
    if turned and ours.startswith("blocks.") and len(first) == 2:
        first = first[::-1]
    return (first[0] + sum(shape[0] for shape in rest), *first[1:])


def _check_shapes(config: ModelConfig, shapes: dict[str, tuple[int, ...]]) -> None:
    wanted = parameter_shapes(config)
    wrong = [name for name, shape in wanted.items() if shapes.get(name) != shape]
    if wrong:
        raise InteropError(
            f"The weights do not fit together: {wrong[0]} should have the shape {wanted[wrong[0]]} and has "
            f"{shapes.get(wrong[0], 'no numbers at all')}."
        )


def _is_turned(weights: Mapping[str, Tensor]) -> bool:
    """Return whether the matrices are those of transformers' GPT-2, which are transposed."""
    fused = weights.get("transformer.h.0.attn.c_attn.weight")
    return fused is not None and fused.dim() == 2 and fused.shape[1] > fused.shape[0]


def _has_mask(weights: Mapping[str, Tensor]) -> bool:
    """Return whether the mask was saved with the weights, as in minGPT, which has GPT-2's GELU."""
    return "transformer.h.0.attn.bias" in weights


def _count_heads(weights: Mapping[str, Tensor]) -> int | None:
    """Return the number of heads where each has its own matrices."""
    found = {
        match[1] for name in weights if (match := re.match(r"blocks\.0\.sa\.heads\.([0-9]{1,6})\.", name))
    }
    return len(found) or None


def _is_tied(weights: Mapping[str, Tensor], sources: Mapping[str, list[str]]) -> bool:
    """Return whether the head is tied to the embedding: it is missing or equal."""
    if "head.weight" not in sources:
        return True
    head, embedding = (weights[sources[name][0]] for name in ("head.weight", "token_embedding.weight"))
    return "head.bias" not in sources and torch.equal(head, embedding)

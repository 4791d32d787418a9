"""Makes a model from elsewhere an ordinary run: config, tokenizer, weights, lineage.

Weights are stored in float32 whatever their original type: this project computes and trains in float32, and it
represents every float16 and bfloat16 number exactly. One tensor is converted at a time. A failed import leaves nothing
behind.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from glassgpt import config as configs
from glassgpt import files
from glassgpt.architectures.configs import family_in, from_hugging_face
from glassgpt.architectures.weights import Match, our_recipes
from glassgpt.architectures.wrapping import place_of, unwrap
from glassgpt.errors import InteropError, TokenizerError
from glassgpt.interop.sources import ModelFolder, find_folder
from glassgpt.interop.tensors import TensorFiles, refuse_kind, write_tensors
from glassgpt.interop.tokenizer_fit import notes_on, refuse_other
from glassgpt.model.config import ModelConfig
from glassgpt.model.summary import count_parameters, parameter_shapes
from glassgpt.runs.beginning import new_run
from glassgpt.runs.config import CorpusConfig, RunConfig
from glassgpt.runs.directory import RunDirectory, refuse_taken
from glassgpt.runs.facts import Lineage
from glassgpt.runs.lineage import new_lineage, write_lineage
from glassgpt.runs.vocabulary import named_tokenizer
from glassgpt.system import explaining
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer

# Masks and tables that follow from the config, and a head that is tied to the embedding.
_WITHOUT_PLACE = re.compile(r"(^|\.)(attn\.bias|attn\.masked_bias|rotary_emb\.inv_freq|lm_head\.weight)$")


@dataclass(frozen=True)
class Arrival:
    """A model that is about to become a run: everything except its weights, and a function that makes each of them."""

    name: str
    architecture: str
    config: ModelConfig
    tokenizer: FastTokenizer
    make: Callable[[str], Tensor]
    """Returns one of our tensors by its name."""
    sources: tuple[Path, ...]
    """The source files of the model."""
    begin: list[int] | None = field(default_factory=list)
    """The ids with which its tokenizer begins every text; None: `documents` decides."""
    documents: bool = True
    """Whether the model has learned that the end-of-text token ends a text."""
    chat_template: str | None = None
    stop: list[str] = field(default_factory=list)
    """The tokens that end an answer."""
    notes: list[str] = field(default_factory=list)
    """What a person should know before trusting its output."""


@explaining
def import_model(source: str, *, name: str | None = None, tokenizer: str | None = None) -> RunDirectory:
    """Make a run from a folder in the Hugging Face format, or from a model's name on the hub; return the run.

    `tokenizer` is a `tokenizer.json` or a known name, for a folder without one. Raises `InteropError` when something
    is missing, broken or pickled, or when that tokenizer gives other ids than the folder's own, `ModelError` for an
    unsupported architecture, `RunError` when the run's name is taken.
    """
    if name is not None:
        refuse_taken(name)
    return settle(_arriving(find_folder(source), tokenizer), name)


def settle(arrival: Arrival, name: str | None) -> RunDirectory:
    """Write the run of an imported model."""
    if arrival.tokenizer.vocab_size > arrival.config.vocab_size:
        raise InteropError(
            f"The tokenizer has {arrival.tokenizer.vocab_size:,} ids but the model only "
            f"{arrival.config.vocab_size:,}: they do not belong together. Give the right one with --tokenizer."
        )

    def describe(run: RunDirectory) -> None:
        arrival.tokenizer.save(run.tokenizer)
        if arrival.chat_template:
            files.write_text(run.chat_template, arrival.chat_template)
        write_tensors(run.weights, parameter_shapes(arrival.config), _finite(arrival.make))
        write_lineage(run, _lineage(arrival, run))
        files.write_text(run.config, configs.to_toml(_run_config(arrival, run)))

    with new_run(name, base=re.split(r"[/\\]", arrival.name)[-1], describe=describe) as claim:
        return claim.run


def make_by(recipes: Mapping[str, Match], tensors: TensorFiles) -> Callable[[str], Tensor]:
    """Return a function that makes our tensors from those of a file.

    Raises `InteropError` when some are missing, have a wrong shape or no place, or hold no plain numbers.
    """
    plain = unwrap(tensors.shapes)
    names = {name: place_of(name, plain) for match in recipes.values() for name in match.theirs}
    missing = [name for name, there in names.items() if there is None]
    if missing:
        raise InteropError(
            f"The weights lack {missing[0]} ({len(missing)} tensors in all), which config.json requires: the two "
            "belong to different models."
        )
    given = {name: plain[there] for name, there in names.items() if there is not None}
    for match in recipes.values():
        for name in match.theirs:
            shape, wanted = tensors.shapes[given[name]], match.their_shape(name)
            if shape != wanted:
                raise InteropError(
                    f"The weights have {name} in the shape {shape}, but config.json says {wanted}: the two "
                    "belong to different models."
                )
            refuse_kind(name, tensors.dtypes[given[name]])
    _refuse_rest(plain.keys() - set(names.values()))

    def read(ours: str):
        if ours not in recipes:
            raise InteropError(
                f"config.json requires {ours}, which no model of its family has. Correct it there."
            )
        return recipes[ours].join(lambda name: tensors.read(given[name]))

    return read


def _refuse_rest(names: Iterable[str]) -> None:
    """Raise `InteropError` when the weights have more tensors than the model that config.json describes."""
    rest = sorted(name for name in names if not _WITHOUT_PLACE.search(name))
    if rest:
        raise InteropError(
            f"The weights have {rest[0]} ({len(rest)} tensors in all), for which the model in config.json has no "
            "place: it would compute something else without them. The two belong to different models."
        )


def _arriving(folder: ModelFolder, given: str | None) -> Arrival:
    content = folder.config()
    family, config = family_in(content), from_hugging_face(content)
    tensors = folder.weights()
    refuse_promises(config, len(tensors.shapes))
    make = make_by(our_recipes(config, family), tensors)
    tokenizer = _given_tokenizer(folder, given) if given else FastTokenizer.from_file(folder.tokenizer())
    template = folder.chat_template()
    return Arrival(
        name=folder.name,
        architecture=family,
        config=config,
        tokenizer=tokenizer,
        make=make,
        sources=(folder.path / "config.json", *tensors.paths),
        begin=tokenizer.begin_ids(),
        chat_template=template,
        stop=_stop_tokens(folder, tokenizer) if template else [],
        notes=notes_on(tokenizer, config.vocab_size, folder.special_ids()) if given else [],
    )


def _given_tokenizer(folder: ModelFolder, name: str) -> FastTokenizer:
    """Return the tokenizer of that name. Raises `InteropError` when the folder's own one gives other ids."""
    tokenizer = named_tokenizer(name)
    own = folder.path / "tokenizer.json"
    if own.is_file():
        with contextlib.suppress(TokenizerError):  # an unusable one is the reason to pass another
            refuse_other(tokenizer, FastTokenizer.from_file(own), name)
    return tokenizer


def refuse_promises(config: ModelConfig, tensors: int) -> None:
    """Raise `InteropError` when a config has more layers than there are tensors, before a model is made."""
    if config.n_layer > tensors:
        raise InteropError(
            f"config.json says that the model has {config.n_layer:,} layers, but its weights hold {tensors:,} tensors "
            "in all: the two belong to different models."
        )


def _finite(make: Callable[[str], Tensor]) -> Callable[[str], Tensor]:
    """Wrap `make` so that it raises an error for a tensor with a number that is not finite."""

    def checked(ours: str) -> Tensor:
        tensor = make(ours)
        if not tensor.isfinite().all():
            raise InteropError(
                f"The weights that become {ours} hold numbers that are not finite (NaN or infinity), or too large for "
                "float32: the model cannot write text with them. The file is damaged, or its training failed."
            )
        return tensor

    return checked


def _stop_tokens(folder: ModelFolder, tokenizer: FastTokenizer) -> list[str]:
    """Return the names of the tokens that end an answer, other than the end of a text."""
    known = [id for id in folder.eos_ids() if 0 <= id < tokenizer.vocab_size]
    others = [id for id in known if id != tokenizer.end_of_text] or [tokenizer.end_of_text]
    return [tokenizer.decode([id], skip_special=False) for id in others]


def _lineage(arrival: Arrival, run: RunDirectory) -> Lineage:
    """Return the origin of the run, with the keys of a trained run's lineage."""
    chat = {"template": _template_name(arrival.chat_template), "stop": arrival.stop}
    return new_lineage(
        arrival.tokenizer,
        kind="import",
        parameters=count_parameters(arrival.config),
        data=None,
        source={
            "name": arrival.name,
            "architecture": arrival.architecture,
            "files": {path.name: files.hash_file(path) for path in arrival.sources},
            "notes": list(arrival.notes or ()),
        },
        begin=arrival.begin,
        documents=arrival.documents,
        chat=chat if arrival.chat_template else None,
        weights={"step": 0, "sha256": files.hash_file(run.weights)},
    )


def _template_name(template: str | None) -> str:
    return "chatml" if template and "<|im_start|>" in template else "custom"


def _run_config(arrival: Arrival, run: RunDirectory) -> RunConfig:
    """Return a config with the model and the tokenizer, but no text, because none is known."""
    return RunConfig(
        corpus=CorpusConfig(sources=()),
        tokenizer=TokenizerConfig(name=run.tokenizer.name),  # the run's own, wherever the run is
        model=arrival.config,
    )

"""`glassgpt import`: a model from elsewhere becomes a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from glassgpt.cli.given import Given
from glassgpt.idle import OnlyWith, refuse_idle

ONLY_WITH = (
    OnlyWith(
        ("heads", "activation", "characters"), "SOURCE", test=lambda said: said["notebook"], use="FILE.pth"
    ),
    OnlyWith(("tokenizer",), "characters", (None,)),
)


def import_(
    source: Annotated[
        str,
        Parameter(help="A folder in the Hugging Face format, a name on its hub, or a notebook's FILE.pth."),
    ],
    *,
    name: str | None = None,
    tokenizer: str | None = None,
    heads: int | None = None,
    activation: Literal["relu", "gelu", "gelu_tanh"] | None = None,
    characters: Path | None = None,
    given: Given = (),
) -> None:
    """Import a model from elsewhere as a run, to generate with, fine-tune, evaluate and export.

    Args:
        source: A folder in the Hugging Face format, a name on its hub, or a notebook's FILE.pth.
        name: Name of the run; by default made from the source's name.
        tokenizer: If the source has no tokenizer: a ready-made name (gpt2, cl100k_base, o200k_base), a
            tokenizer.json, a folder with one, or a run.
        heads: For a FILE.pth: number of attention heads, which its shapes do not show.
        activation: For a FILE.pth: the activation of its MLP, if it is not the usual one for its kind.
        characters: For a FILE.pth: the text whose sorted characters are its vocabulary.
    """
    from glassgpt.cli.terminal import make_console, say
    from glassgpt.commands import command
    from glassgpt.interop.imports import import_model
    from glassgpt.interop.notebooks import import_notebook, is_notebook
    from glassgpt.runs.reading import read_lineage

    notebook = is_notebook(source)
    refuse_idle({"SOURCE": source, "notebook": notebook, "characters": characters}, given, ONLY_WITH)
    if notebook:
        run = import_notebook(
            source, name=name, tokenizer=tokenizer, heads=heads, activation=activation, characters=characters
        )
    else:
        run = import_model(source, name=name, tokenizer=tokenizer)
    lineage = read_lineage(run)
    console = make_console()
    say(
        console,
        f"{run.name}: {lineage.model.parameters:,} parameters, {lineage.source and lineage.source.architecture}, "
        f"a {lineage.tokenizer.kind} tokenizer of {lineage.tokenizer.vocab_size:,} ids. It is in {run.path}",
    )
    for note in lineage.source.notes if lineage.source else ():
        say(console, f"Note: {note}", style="yellow")
    if lineage.chat:
        say(console, f"\nTalk with it:  {command('chat', run.handle)}\n")
    else:
        say(console, f"\nLet it write:  {command('generate', run.handle, 'Once upon a time')}\n")

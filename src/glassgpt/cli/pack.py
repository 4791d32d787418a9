"""`glassgpt runs pack`: a run as one small folder for another person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def pack(
    run: str = "latest",
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "--to"])] = None,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Copy what another person needs to use a run into one small folder: no checkpoints, no private paths.

    Args:
        run: A run's name or path, or latest.
        output: The folder to write; by default here, under the run's name with `-packed`.
        force: Overwrite an existing folder.
    """
    from glassgpt.cli.terminal import make_console, say
    from glassgpt.commands import command
    from glassgpt.model.summary import byte_size
    from glassgpt.outputs import refuse_overwriting
    from glassgpt.runs.directory import find_run
    from glassgpt.runs.packing import pack
    from glassgpt.runs.summary import size_of

    directory = find_run(run)
    folder = output or Path(f"{directory.name}-packed")
    refuse_overwriting(folder, option="--output", inputs=lambda: [directory.path], force=force, folder=True)
    before = size_of(directory.path)
    pack(directory, folder)
    console = make_console()
    after = size_of(folder)
    size = byte_size(after) + (f" instead of {byte_size(before)}" if after < before else "")
    say(console, f"{folder} ({size}). Its README.md says what it is and how to use it.")
    say(console, f"Try it:  {command('runs', 'show', folder)}")

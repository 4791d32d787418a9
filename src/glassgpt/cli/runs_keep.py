"""`glassgpt runs rename`, `note`, `remove`, `restore` and `prune`: keeping order among runs."""

from __future__ import annotations

from glassgpt.cli.terminal import make_console, shown


def rename(run: str, new: str) -> None:
    """Give a run another name. Runs that were fine-tuned from it still find it.

    Args:
        run: A run's name or path, or latest.
        new: The new name; no other run may have it.
    """
    from glassgpt.runs.directory import find_run
    from glassgpt.runs.keeping import rename

    before = find_run(run)
    name = before.name
    after = rename(before, new)
    make_console(soft_wrap=True).print(f"{shown(name)} is {shown(after.name)} now.")


def note(run: str, *text: str) -> None:
    """Note something about a run; without a text, show the note.

    Args:
        run: A run's name or path, or latest.
        text: What to note; it replaces an earlier note, and "" removes it.
    """
    from glassgpt.cli.terminal import typed
    from glassgpt.runs.directory import find_run
    from glassgpt.runs.keeping import write_note
    from glassgpt.runs.summary import read_note

    console = make_console(soft_wrap=True)
    directory = find_run(run)
    if text:
        write_note(directory, typed(" ".join(text)))
    console.print(shown(read_note(directory) or f"{directory.name} has no note."))


def remove(*runs: str) -> None:
    """Move runs to the folder `.removed` beside the others, from which `glassgpt runs restore` brings them back.

    Args:
        runs: Runs by name or path, or patterns in quotes such as 'tale-*'.
    """
    from glassgpt.commands import command
    from glassgpt.errors import RunError
    from glassgpt.runs.keeping import made_from, put_away, removed_folder
    from glassgpt.runs.listing import matching

    if not runs:
        raise RunError("Name the runs to remove. `glassgpt runs` lists the runs.")
    console = make_console(soft_wrap=True)
    for directory in matching(runs):
        name, dependent = directory.name, made_from(directory)
        path = put_away(directory)
        line = command("runs", "restore", path.name)
        console.print(
            f"{shown(name)} was moved to {shown(path)}. Bring it back with:  [bold]{shown(line)}[/]"
        )
        for other, needs in dependent:
            what = "cannot be opened until it is back" if needs else "works without it, but cannot be resumed"
            console.print(f"  {shown(other.name)} was fine-tuned from it, and {what}.")
    console.print(f"To free the space, delete {shown(removed_folder())}.", style="dim")


def restore(*names: str) -> None:
    """Bring removed runs back; without a name, list the removed runs.

    Args:
        names: Names of removed runs.
    """
    from glassgpt.model.summary import byte_size
    from glassgpt.runs.keeping import bring_back, removed, removed_folder
    from glassgpt.runs.summary import size_of

    console = make_console(soft_wrap=True)
    for name in names:
        console.print(f"{shown(bring_back(name).name)} is back.")
    if names:
        return
    for name in removed():
        console.print(f"{shown(name)}  {byte_size(size_of(removed_folder() / name))}")
    if not removed():
        console.print("No run was removed.")


def prune(*runs: str) -> None:
    """Remove the checkpoints of finished runs. They take most of the space; everything except `resume` still works.

    Without a name, those of all finished runs.

    Args:
        runs: Runs by name or path, or patterns in quotes such as 'tale-*'.
    """
    from glassgpt.model.summary import byte_size
    from glassgpt.runs.keeping import prune
    from glassgpt.runs.listing import matching

    console = make_console(soft_wrap=True)
    done = [prune(directory) for directory in matching(runs)]
    for each in done:
        if each.kept:
            console.print(f"{shown(each.run.name)} keeps its checkpoints: {shown(each.kept)}.")
        elif each.bytes:
            console.print(f"{shown(each.run.name)}: {byte_size(each.bytes)} freed.")
    console.print(f"{byte_size(sum(each.bytes for each in done))} freed in all.")

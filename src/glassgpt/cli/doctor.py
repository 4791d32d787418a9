"""`glassgpt doctor`: what this machine has and lacks, how fast it is, and whether everything works."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from glassgpt.cli.terminal import make_console, print_table, say, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from glassgpt.doctor.check import Step
    from glassgpt.doctor.measure import Measured
    from glassgpt.doctor.report import Diagnosis

Flag = Parameter(negative=())


ENGINES = {"loops": "the compiled loops", "torch": "torch"}


def doctor(
    *,
    json: Annotated[bool, Flag] = False,
    again: Annotated[bool, Flag] = False,
    offline: Annotated[bool, Flag] = False,
) -> int:
    """Show what this machine has and how fast it is, and check everything from training to export.

    The measurements are kept for this machine, and all choices for speed rest on them. This takes about half a minute.

    Args:
        json: Print everything as JSON, for a bug report. It names none of your folders.
        again: Forget earlier measurements of this machine, and measure again.
        offline: Do not check whether the hubs can be reached.
    """
    from glassgpt.machine.kept import forget

    if again:
        forget()
    console = make_console(stderr=json, lasting=True, soft_wrap=json)
    diagnosis = _examine(console, offline=offline)
    if json:
        sys.stdout.write(json_format.dumps(diagnosis.to_dict(), indent=2, ensure_ascii=False) + "\n")
    else:
        _show(console, diagnosis)
    return 1 if diagnosis.troubles else 0


def _examine(console: Console, *, offline: bool) -> Diagnosis:
    """Gather everything and report progress. The measurements come first, while the machine is quiet."""
    from glassgpt.doctor.check import check
    from glassgpt.doctor.measure import measure
    from glassgpt.doctor.report import Diagnosis
    from glassgpt.doctor.surroundings import core_versions, damaged_caches, extras, reachable, space
    from glassgpt.machine.facts import machine_facts
    from glassgpt.machine.kept import all_kept

    with console.status("Examining this machine ...") as status:
        measured = measure(status.update)
        status.update("Training and exporting a tiny model ...")
        steps = list(check())
        status.update("Checking caches and hubs ...")
        return Diagnosis(
            facts=machine_facts(),
            space=space(),
            versions=core_versions(),
            extras=extras(),
            hubs={} if offline else reachable(),
            caches=damaged_caches(),
            measured=measured,
            kept=all_kept(),
            steps=steps,
        )


def _show(console: Console, diagnosis: Diagnosis) -> None:
    _print(console, "This machine", _machine_rows(diagnosis))
    if diagnosis.measured is not None:
        _print(console, "How fast it is", _measured_rows(diagnosis.measured))
        for line in _remarks(diagnosis.measured):
            say(console, line, style="yellow")
    _print(console, "What is installed", _library_rows(diagnosis))
    _print(console, "Does it work?", (_step_row(step) for step in diagnosis.steps))
    console.print()
    for trouble in diagnosis.troubles:
        say(console, f"! {trouble}", style="red")
    if not diagnosis.troubles:
        console.print("[bold green]Everything works here.[/]")


def _print(console: Console, title: str, rows: Iterator[tuple[str, str]]) -> None:
    from rich.table import Table

    table: Table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, value)
    console.print(f"\n[bold]{title}[/]")
    print_table(console, table)


def _machine_rows(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    from glassgpt.model.summary import byte_size

    facts, space = diagnosis.facts, diagnosis.space
    yield "processor", f"{shown(facts.processor)}, {facts.cores} core{'' if facts.cores == 1 else 's'}"
    yield "instructions", f"{', '.join(facts.instructions) or 'unknown'} (torch uses {facts.kernels})"
    for card in facts.accelerators:
        yield "accelerator", shown(card)
    yield "memory", f"{byte_size(space.free_memory)} free of {byte_size(space.memory)}"
    yield "disk", f"{byte_size(space.free_disk)} free of {byte_size(space.disk)}"
    yield "system", f"{facts.system}, Python {facts.python}, torch {facts.torch}"
    if facts.variables:
        yield "set", shown(", ".join(f"{name}={value}" for name, value in facts.variables.items()))


def _measured_rows(measured: Measured) -> Iterator[tuple[str, str]]:
    from glassgpt.generation.pace import MANY

    for product in measured.products:
        yield f"product, {product.dtype}", f"{product.gigaflops:,.0f} GFLOP/s{_with(product.threads)}"
    for threads, gigabytes in measured.copies.items():
        yield "copying", f"{gigabytes:,.1f} GB/s{_with(int(threads))}"
    for update in measured.updates:
        yield (
            f"update, {update.layers} x {update.width}",
            f"{update.milliseconds:,.0f} ms, {update.tokens_per_second:,.0f} tokens/s in "
            f"{update.precision}{_with(update.threads)}",
        )
    for writing in measured.writing:
        yield (
            f"writing, {writing.name}",
            f"{writing.one:,.0f} tokens/s one text{_with(writing.threads_for_one)}; {writing.many:,.0f} tokens/s "
            f"{MANY} texts{_with(writing.threads_for_many)}; by {ENGINES[writing.engine]}"
            + (f"; --weights auto: {writing.weights}" if writing.weights else ""),
        )


def _with(threads: int) -> str:
    return f", {threads} thread{'' if threads == 1 else 's'}" if threads else ""


def _remarks(measured: Measured) -> Iterator[str]:
    if not measured.is_quiet:
        yield (
            f"Other programs kept about {measured.others:.1f} cores busy, so these figures say little and are not "
            "kept. Close them and run  glassgpt doctor --again"
        )
    else:
        yield from measured.notes


def _library_rows(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    yield "always needed", ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items())
    for extra in diagnosis.extras:
        present = ", ".join(f"{name} {version}" for name, version in extra.present.items())
        missing = f"[yellow]without {', '.join(extra.missing)}:  {shown(extra.install)}[/]"
        yield (
            f"extra {extra.name}",
            "\n".join(part for part in (present, missing if extra.missing else "") if part),
        )
    for name, answers in diagnosis.hubs.items():
        yield (
            name,
            "can be reached" if answers else "cannot be reached: only files on this machine can be used",
        )
    yield "caches", "sound" if not diagnosis.caches else f"[red]{len(diagnosis.caches)} damaged[/]"


def _step_row(step: Step) -> tuple[str, str]:
    if step.trouble:
        return step.name, f"[red]failed[/]: {shown(step.trouble)}"
    if step.skipped:
        return step.name, f"[yellow]not tried[/]: {shown(step.skipped)}"
    return step.name, f"[green]works[/], {step.seconds:.1f} s"

"""`glassgpt classify`: which label a text has, according to a run that has learned to classify."""

from __future__ import annotations

from glassgpt.cli.terminal import input_text, make_console, shorten, shown, typed

MOST = 20
"""The most labels that are shown beside the likeliest."""


def classify(run: str, *texts: str, device: str = "auto") -> None:
    """Print the label of each text, and how likely each label is. Without texts, each line of the standard input is
    one.

    There is one line of output per text; the label of a blank text is "-".

    Args:
        run: A run's name or path, or latest; made by `glassgpt finetune classify`.
        texts: The texts to classify.
        device: auto, cpu, cuda or mps.
    """
    from glassgpt.runs.directory import find_run

    find_run(run)  # before torch is imported: it takes seconds
    from glassgpt.device import pick_device
    from glassgpt.errors import GenerationError
    from glassgpt.finetuning.classify import open_classifier
    from glassgpt.runs.opening import open_run

    classifier = open_classifier(open_run(run, device=pick_device(device)))
    asked = [typed(text).strip() for text in texts] or _lines(input_text())
    if not any(asked):
        raise GenerationError('There is no text to classify. Give one:  glassgpt classify RUN "text"')
    console = make_console()
    aside = make_console(stderr=True, lasting=True, soft_wrap=True)
    found = iter(classifier.probabilities([text for text in asked if text], say=aside.print))
    for text in asked:
        if not text:
            console.print("[bold]-[/]")
            continue
        shares = next(found)
        best, *rest = sorted(shares, key=lambda label: -shares[label])
        others = ", ".join(f"{shown(label)} {shares[label]:.1%}" for label in rest[:MOST])
        if len(rest) > MOST:
            others += f", {len(rest) - MOST:,} more"
        console.print(
            f"[bold]{shown(best)}[/] {shares[best]:.1%}  [dim]({others})[/]  {shown(shorten(text, 60))}",
            soft_wrap=True,
        )


def _lines(text: str) -> list[str]:
    """Return the lines of a text, including blank ones."""
    return [line.strip() for line in text.removesuffix("\n").split("\n")]

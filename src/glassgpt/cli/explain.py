"""`glassgpt explain`: what a run's model computes for a text, in the terminal or as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from glassgpt.cli.given import Given, refuse_misplaced
from glassgpt.cli.options import names_in
from glassgpt.cli.terminal import make_console, say, typed
from glassgpt.explaining.shapes import ALL
from glassgpt.idle import OnlyWith, refuse_idle


def _about(*names: str) -> dict[str, Any]:
    """Return a rule's test and way out: some settings belong to some questions."""
    return {"test": lambda said: {*names, ALL} & {*said["what"]}, "use": " or ".join(names)}


ONLY_WITH = (
    OnlyWith(("force",), "html", test=lambda said: said["html"] is not None),
    OnlyWith(("what", "token"), "tour", values=(False,)),
    OnlyWith(("temperature", "top_k", "top_p", "min_p"), "what", **_about("choice")),
    OnlyWith(("head",), "what", **_about("attention")),
    OnlyWith(("layer",), "what", **_about("attention", "parts")),
    OnlyWith(("instead",), "what", **_about("patch")),
)


def explain(
    run: str = "latest",
    text: str = "Once upon a time",
    *more: Annotated[str, Parameter(show=False)],
    what: tuple[str, ...] = (),
    tour: Annotated[bool, Parameter(negative=())] = False,
    token: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    instead: str | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    html: Path | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    device: str = "auto",
    given: Given = (),
) -> None:
    """Show what a run's model computes for a text: its tokens, what comes next, and why.

    Args:
        run: A run's name or path, or latest.
        text: The text that the model reads.
        more: Words of a text without quotes, which are refused.
        what: Questions, separated by commas: tokens, surprise, next, choice, attention, heads, lens, parts, words,
            without, embedding, depth, positions, update, steps, patch; or all. When left out, those that are quick.
            choice shows what the four settings of sampling below do.
        tour: Walk through ten ideas that every language model is made of, each with the numbers of this run.
        token: Explain this continuation of the text instead of the likeliest one. A space before a word belongs to it.
        layer: For attention, and for the neurons of parts: which layer.
        head: For attention: which head of the layer.
        instead: For patch: another text of as many tokens.
        temperature: Higher is more random; 0 always takes the likeliest token.
        top_k: Keep only the k likeliest tokens; 0 keeps all.
        top_p: Keep the likeliest tokens that together reach this probability.
        min_p: Keep tokens whose probability is at least this share of the likeliest token's.
        html: Write one self-contained page to this file instead.
        force: Overwrite an existing file.
        device: auto, cpu, cuda or mps.
    """
    refuse_misplaced(run, typed(text, "The text"), *more, most=1)
    for other, called in ((token, "--token"), (instead, "--instead")):
        typed(other or "", called)
    names = names_in(what)
    refuse_idle({"force": force, "html": html, "what": names, "tour": tour}, given, ONLY_WITH)
    if html is not None:
        from glassgpt.outputs import refuse_overwriting
        from glassgpt.runs.directory import find_run

        refuse_overwriting(html, option="--html", inputs=lambda: [find_run(run).path], force=force)
    from glassgpt.device import pick_device
    from glassgpt.explaining.views import Asked, answers, questions
    from glassgpt.generation.sampling import SamplingConfig
    from glassgpt.runs.opening import open_run

    opened = open_run(run, device=pick_device(device))
    sampling = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    asked = Asked(opened, text, token=token, layer=layer, head=head, instead=instead, sampling=sampling)
    if tour:
        from glassgpt.explaining.tour import stops

        found = stops(asked)
    else:
        found = answers(asked, questions(names))
    if html is None:
        from glassgpt.cli.explained import show

        show(make_console(), found, rest=() if names or tour else questions((ALL,)))
    else:
        from glassgpt import files
        from glassgpt.explaining.page import page

        files.write_text(html, page(found, name=opened.directory.name, text=text))
        say(make_console(), f"The page is {html}. Open it in a browser.")

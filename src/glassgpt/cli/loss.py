"""The loss that `glassgpt eval` measures first: what is asked for, how it is measured and how it is shown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from glassgpt.cli.terminal import make_console, say, shown
from glassgpt.idle import OnlyWith

if TYPE_CHECKING:
    from glassgpt.corpus.tinytales.score import StoryScore
    from glassgpt.finetuning.measuring import Figures
    from glassgpt.pretraining.measuring import Measurement
    from glassgpt.runs.opening import Run

MOST_STORIES = 1_000_000
ONLY_WITH = (
    OnlyWith(("split",), "SOURCES", ((),)),
    OnlyWith(("text_field",), "SOURCES", test=lambda said: said["SOURCES"]),
)


@dataclass(frozen=True)
class Asked:
    """The options of `glassgpt eval` that say what text to measure on, and how many stories to write."""

    sources: tuple[str, ...]
    moved: tuple[str, ...]
    split: str
    text_field: str | None
    stories: int
    given: Collection[str] = ()
    """The settings that the command line names."""

    @property
    def names_text(self) -> bool:
        """Whether the command line says which text to measure on, so that it must be measured."""
        return bool(self.sources or self.moved or "split" in self.given)

    def refuse_wrong(self) -> None:
        """Raise `ConfigError` for values that make no sense, before any work is done."""
        from glassgpt.corpus.sources import refuse_idle_field
        from glassgpt.dataset.shards import SPLITS
        from glassgpt.errors import ConfigError, did_you_mean

        if self.text_field is not None:
            refuse_idle_field(self.sources)
        if self.split not in SPLITS:
            raise ConfigError(
                f"There is no split {self.split!r}.{did_you_mean(self.split, SPLITS)} Use {', '.join(SPLITS)}."
            )
        if not 0 <= self.stories <= MOST_STORIES:
            raise ConfigError(f"--stories is {self.stories:,}: it must be from 0 to {MOST_STORIES:,}.")
        if self.sources and self.moved:
            raise ConfigError(
                "--corpus.sources says where the run's own text is now, but another text is named to measure on. Give "
                "only one of the two."
            )

    def measure(self, run: Run) -> Measurement | Figures:
        """Measure the loss, or what a fine-tuned run is measured by.

        Raises the errors of `glassgpt.pretraining.measuring` and `glassgpt.finetuning.measuring`.
        """
        from glassgpt.finetuning.measuring import measure_examples, measure_held_out
        from glassgpt.pretraining.measuring import measure_own, measure_sources

        is_finetuned = run.directory.finetune.is_file()
        if self.sources:
            found = measure_examples(run, self.sources, self.text_field) if is_finetuned else None
            return found or measure_sources(run, self.sources, self.text_field)
        if is_finetuned:
            self._refuse_other_split(run)
            return measure_held_out(run, self.moved)
        return measure_own(run, self.split, self.moved)

    def _refuse_other_split(self, run: Run) -> None:
        from glassgpt.errors import ConfigError

        if "split" in self.given and self.split != "validation":
            raise ConfigError(
                f"--split {self.split}: {run.directory.name} was fine-tuned, and is measured on its held-out examples "
                "only. Leave out --split."
            )

    def measure_or_say(self, run: Run, *, alone: bool) -> Measurement | Figures | str:
        """Return the loss, or the reason why it cannot be measured.

        An error is raised instead if the command line names the text to measure on, or if the loss is all that is
        wanted (`alone`) of a run that should have a text. It then says what can be measured without the text.
        """
        from glassgpt.commands import command
        from glassgpt.errors import ConfigError, CorpusError, DatasetError, EvaluationError, RunError
        from glassgpt.pretraining.measuring import why_no_text

        try:
            return self.measure(run)
        except (ConfigError, CorpusError, DatasetError, EvaluationError, RunError) as error:
            has_own = why_no_text(run) is None or run.directory.finetune.is_file()
            if self.names_text:
                raise
            if alone and has_own:
                others = command("eval", run.directory.handle, tasks="all")
                error.add_note(f"What needs no data can still be measured:  {others}")
                raise
            return str(error)

    def write_stories(self, run: Run, seed: int = 0) -> StoryScore | None:
        """Let the run write the stories that are asked for, and return their score."""
        from glassgpt.evaluation.stories import score_run

        return score_run(run, count=self.stories, seed=seed)[1] if self.stories else None


def show_loss(run: Run, found: Measurement | Figures) -> None:
    """Print a loss, and what it was measured on."""
    from glassgpt.finetuning.measuring import Figures
    from glassgpt.tokenizers.special import unknown_line

    if isinstance(found, Figures):
        _show_figures(run, found)
        return
    console, result = make_console(), found.result
    console.print(f"[bold]{shown(run.directory.name)}[/] on {shown(found.text)}")
    console.print(f"  loss           {result.loss:.4f} nats a token")
    perplexity = "too large a number" if result.perplexity is None else f"{result.perplexity:,.3f}"
    console.print(f"  perplexity     {perplexity}")
    console.print(f"  bits per byte  {result.bits_per_byte:.4f}")
    console.print(f"  tokens         {result.tokens:,}")
    if result.unknown:
        line = unknown_line(result.unknown, result.tokens, run.tokenizer.kind)
        console.print(f"  unknown        {line}")
        console.print("                 Each of their bytes counts as 8 bits in the bits per byte.")


def _show_figures(run: Run, found: Figures) -> None:
    """Print the figures of a fine-tuned run as its comparison names them."""
    console = make_console()
    console.print(f"[bold]{shown(run.directory.name)}[/] ({found.kind}) on {shown(found.text)}")
    for name, value in found.numbers.items():
        console.print(f"  {shown(name):<14} {value:,.3f}")
    for note in found.notes:
        say(console, note, style="dim")


def show_stories(score: StoryScore) -> None:
    """Print how many stories are valid and new."""
    make_console().print(
        f"  stories        {score.valid} of {score.total} valid under the grammar, {score.new} of them new"
    )


def story_facts(score: StoryScore) -> dict[str, Any]:
    """Return the same figures for `--json`."""
    return {"total": score.total, "valid": score.valid, "new": score.new}

"""The `glassgpt` command: its commands, and how errors are handled.

Commands are named by import path and imported only when called, so that `--help` is instant. This module itself
imports almost nothing, because Ctrl-C ends the program quietly only inside `main`. A `GlassGPTError` or an error of
the operating system is printed as one paragraph and ends the program with status 1. A command line that cannot be
read ends it with status 2. Any other exception is a bug in GlassGPT and shows its traceback.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` is not imported for it
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from cyclopts import App

INTERRUPTED = 130

COMMANDS = {
    "train": ("glassgpt.cli.train:app", "Train a model on text you own, or on the built-in stories."),
    "sweep": ("glassgpt.cli.sweep:app", "Train a run for each of several settings, and show which mattered."),
    "plan": ("glassgpt.cli.plan:plan", "Show the run that `train --minutes` would choose."),
    "finetune": (
        "glassgpt.cli.finetune:app",
        "Teach a run to answer, prefer or classify; train it by rewards; or distill it.",
    ),
    "classify": (
        "glassgpt.cli.classify:classify",
        "Print the label of each text, with a run that has learned to classify.",
    ),
    "resume": ("glassgpt.cli.resume:resume", "Resume a run that was stopped or killed."),
    "generate": ("glassgpt.cli.generate:generate", "Let a run continue a text."),
    "chat": (
        "glassgpt.cli.chat:chat",
        "Talk with a run that was taught to answer, or take turns writing with a base model.",
    ),
    "explain": (
        "glassgpt.cli.explain:explain",
        "Look inside a run: what it computes for a text, step by step.",
    ),
    "serve": (
        "glassgpt.cli.serve:serve",
        "Serve runs over HTTP, for every program that knows OpenAI's interface.",
    ),
    "eval": (
        "glassgpt.cli.eval:eval_",
        "Measure a run's loss on text, and what it is good at: probes and lm-eval tasks.",
    ),
    "import": ("glassgpt.cli.import_:import_", "Import a model from elsewhere as a run."),
    "export": (
        "glassgpt.cli.export:export",
        "Write a run for transformers, llama.cpp or ONNX, and check that they compute the same.",
    ),
    "runs": ("glassgpt.cli.runs:app", "List runs, compare several, and keep order among them."),
    "model": ("glassgpt.cli.model:app", "Show a model's layers, shapes, parameters, cost and memory."),
    "tokenizer": ("glassgpt.cli.tokenizer:app", "Train, use and compare tokenizers."),
    "data": ("glassgpt.cli.data:app", "Look at text before training on it."),
    "doctor": (
        "glassgpt.cli.doctor:doctor",
        "Show what this machine has and how fast it is, and check that everything works.",
    ),
    "help": ("glassgpt.cli.pages:help_", "Show a page of the documentation, or a command's options."),
}
EARLIER = {"evaluate": "glassgpt.cli.evaluate:evaluate"}
"""Earlier names of commands, which work for one more release and are not listed."""

ABOUT = "Turn text you own into a language model you can talk to, and see through every step."
FIRST_STEPS = """First steps, with the built-in stories, or with your text:

    glassgpt train --minutes 2
    glassgpt plan TEXT --minutes 10

Each command explains itself with `--help`."""

HELP_FURTHER = """Slow, or does not work? Begin with:  glassgpt doctor

Poor results?  glassgpt help why-is-it-bad

All pages to read:  glassgpt help pages"""


def make_app() -> App:
    """Return the command line, with no command imported yet."""
    from cyclopts import App, Parameter

    from glassgpt import __version__
    from glassgpt.cli.given import note_given
    from glassgpt.cli.helping import Help
    from glassgpt.cli.terminal import make_console
    from glassgpt.config import refuse_number

    app = App(
        name="glassgpt",
        help=f"{ABOUT}\n\n{FIRST_STEPS}",
        help_epilogue=HELP_FURTHER,
        help_formatter=Help(),
        version=__version__,
        version_flags=("--version", "-V"),
        result_action="return_value",
        default_parameter=Parameter(validator=lambda _, value: refuse_number(value), negative_iterable=()),
        console=make_console(width=_help_width()),
        config=note_given,
    )
    for name, (path, help_) in COMMANDS.items():
        app.command(path, name=name, help=help_)
    for name, path in EARLIER.items():
        app.command(path, name=name, show=False)
    return app


def _help_width() -> int:
    """Return the width of help: that of the window, but lines of over 120 characters are hard to read."""
    import shutil

    return min(120, shutil.get_terminal_size((80, 24)).columns)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    interrupt = _Interrupt()
    try:
        with interrupt:
            _open_standard_streams()
            status = _run(sys.argv[1:] if arguments is None else arguments)
    except BaseException as error:
        # A library that is interrupted during its import may turn the KeyboardInterrupt into another error.
        if not (interrupt.came or isinstance(error, KeyboardInterrupt)):
            raise
        status = INTERRUPTED
    if arguments is None:
        interrupt.end_at_once()
    sys.exit(status)


def _run(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    from glassgpt.cli.guesses import asks_for_help, before_texts, refusal, understood
    from glassgpt.cli.helping import HELP_ALL, name_arguments, print_everything
    from glassgpt.cli.terminal import print_error, silence
    from glassgpt.errors import GlassGPTError, UsageError
    from glassgpt.system import explained

    try:
        app = make_app()
        words = understood(app, arguments, unlisted=EARLIER)
        if HELP_ALL in before_texts(words):
            print_everything(app, words)
            return 0
        if asks_for_help(words):
            name_arguments(app, words)
        status = app(words, print_error=False, exit_on_error=False)
        sys.stdout.flush()
    except UsageError as error:
        print_error(error)
        return 2
    except CycloptsError as error:
        print_error(refusal(error, arguments))
        return 2
    except GlassGPTError as error:
        from glassgpt.cli.meant import advised

        print_error(advised(error, arguments))
        return 1
    except BrokenPipeError:  # the reader of a pipe has closed it, as `| head` does
        silence(sys.stdout)
        return 0
    except Exception as error:
        known = explained(error)
        if known is None:
            raise
        print_error(known)
        return 1
    return status if isinstance(status, int) else 0


class _Interrupt:
    """Raises KeyboardInterrupt at Ctrl-C, and remembers it.

    During the import of a library it ends the process instead, as a kill would. An exception might be lost there:
    callbacks of the import system ignore exceptions, and some libraries catch everything that an optional part
    raises.
    """

    def __init__(self) -> None:
        self.came = self.active = False

    def __enter__(self) -> None:
        import signal
        import threading

        self._before = signal.getsignal(signal.SIGINT)
        is_main = threading.current_thread() is threading.main_thread()  # only this thread has signals
        if is_main and self._before is not signal.SIG_IGN:  # as a script with `&` sets it
            signal.signal(signal.SIGINT, self._act)
            self.active = True

    def __exit__(self, *_: object) -> None:
        import signal

        if self.active:
            signal.signal(signal.SIGINT, self._before)

    def end_at_once(self) -> None:
        """When nothing is left to do, let Ctrl-C end the process at once."""
        import signal

        if self.active:
            signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))

    def _act(self, _number: int, frame: FrameType | None) -> None:
        self.came = True
        if _is_importing(frame):
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether an import is in progress in a frame or in its callers."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _open_standard_streams() -> None:
    """Replace a closed standard stream by the null device, because the next opened file would take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115


if __name__ == "__main__":
    main()

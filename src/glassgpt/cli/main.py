"""The `glassgpt` command: which commands there are, and what happens to errors.

Commands are named by import path and imported only when called, so that `--help` is instant.
A `GlassGPTError` is printed as one paragraph and ends the program with status 1, a command line that
cannot be read with status 2; anything else that escapes is a bug of ours and shows its traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App

from glassgpt import __version__
from glassgpt.errors import GlassGPTError

COMMANDS = {
    "train": ("glassgpt.cli.train:app", "Train a model on text you own, or on the built-in stories."),
    "plan": ("glassgpt.cli.plan:plan", "Show the run that `train --minutes` would choose."),
    "finetune": (
        "glassgpt.cli.finetune:app",
        "Teach a run to answer, to prefer, to classify; or reward it, or distill it.",
    ),
    "classify": (
        "glassgpt.cli.classify:classify",
        "Let a run that has learned to say which label a text has.",
    ),
    "resume": ("glassgpt.cli.resume:resume", "Go on with a run that was stopped or killed."),
    "generate": ("glassgpt.cli.generate:generate", "Let a run continue a text."),
    "chat": (
        "glassgpt.cli.chat:chat",
        "Talk with a run that was taught to answer, or write with it in turns.",
    ),
    "evaluate": (
        "glassgpt.cli.evaluate:evaluate",
        "Measure a run's loss on text (what it is good at: see eval).",
    ),
    "eval": (
        "glassgpt.cli.eval:eval_",
        "Ask a run questions: probes and lm-eval tasks (its loss: see evaluate).",
    ),
    "import": ("glassgpt.cli.import_:import_", "Make a run of a model from elsewhere."),
    "export": (
        "glassgpt.cli.export:export",
        "Write a run for transformers, llama.cpp or ONNX, checked there.",
    ),
    "runs": ("glassgpt.cli.runs:app", "List runs, or compare several."),
    "model": ("glassgpt.cli.model:model", "Show a model's layers, shapes, parameters, cost and memory."),
    "tokenizer": ("glassgpt.cli.tokenizer:app", "Train, use and compare tokenizers."),
    "data": ("glassgpt.cli.data:app", "Look at text before training on it."),
}


def make_app() -> App:
    """Return the command line with every command still unimported."""
    app = App(
        name="glassgpt",
        help="Turn text you own into a language model you can talk to, and see through every step.",
        version=__version__,
        result_action="return_value",
    )
    for name, (path, help_) in COMMANDS.items():
        app.command(path, name=name, help=help_)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        status = make_app()(sys.argv[1:] if arguments is None else arguments)
    except GlassGPTError as error:
        _print_error(error)
        status = 1
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # the reader of a pipe has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status if isinstance(status, int) else 0)


def _print_error(error: GlassGPTError) -> None:
    from rich.console import Console
    from rich.text import Text

    message = Text.assemble(("Error: ", "bold red"), str(error))
    Console(stderr=True, soft_wrap=True).print(message)


if __name__ == "__main__":
    main()

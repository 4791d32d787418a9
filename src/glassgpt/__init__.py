"""GlassGPT: turn text you own into a language model you can talk to, and see through every step.

The names that most Python programs need can be imported from here; each is loaded when it is first used:

    import glassgpt

    run = glassgpt.open_run("latest")
    print(run.complete("Once", glassgpt.GenerationConfig(seed=1))[0])
"""

from __future__ import annotations

import os

__version__ = "0.1.0"

# Some of the libraries used here send usage reports. They read these variables when they are imported, so the
# variables are set first; a value that the user has set stays. (onnxruntime also has a function for this, but that
# comes too late: the import alone writes a device id and looks up a host.)
for _variable, _value in {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, transformers, datasets
    "WANDB_ERROR_REPORTING": "false",  # wandb: metrics go where the user sends them, crash reports nowhere
    "DO_NOT_TRACK": "1",
}.items():
    os.environ.setdefault(_variable, _value)

TYPE_CHECKING = (
    False  # not imported from `typing`: until the command line is set up, Ctrl-C shows a traceback
)
if TYPE_CHECKING:
    from typing import Any

    from glassgpt.errors import GlassGPTError as GlassGPTError
    from glassgpt.generation.text import GenerationConfig as GenerationConfig
    from glassgpt.generation.text import complete as complete
    from glassgpt.generation.text import stream as stream
    from glassgpt.model.config import ModelConfig as ModelConfig
    from glassgpt.model.gpt import GPT as GPT
    from glassgpt.pretraining.run import resume_run as resume_run
    from glassgpt.pretraining.run import start_run as start_run
    from glassgpt.runs.config import RunConfig as RunConfig
    from glassgpt.runs.opening import open_run as open_run
    from glassgpt.tokenizers.load import load_tokenizer as load_tokenizer

_HOMES = {
    "GPT": "glassgpt.model.gpt",
    "GenerationConfig": "glassgpt.generation.text",
    "GlassGPTError": "glassgpt.errors",
    "ModelConfig": "glassgpt.model.config",
    "RunConfig": "glassgpt.runs.config",
    "complete": "glassgpt.generation.text",
    "load_tokenizer": "glassgpt.tokenizers.load",
    "open_run": "glassgpt.runs.opening",
    "resume_run": "glassgpt.pretraining.run",
    "start_run": "glassgpt.pretraining.run",
    "stream": "glassgpt.generation.text",
}
__all__ = [*_HOMES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562), so that `import glassgpt` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'glassgpt' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Name what can be imported from here, also what was not used yet, and nothing else, for shells and notebooks."""
    return sorted(__all__)

"""A run for another person: one small folder that can be used anywhere, and says what it is.

It holds what `generate`, `chat`, `classify` and `eval` read, the report, and a README. Left out are checkpoints and
samples. Folders of this machine are taken out of everything that names them: they are private, and mean nothing
elsewhere. The folder is sealed: `manifest.json` has the hash of each file.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from glassgpt import config as configs
from glassgpt import files
from glassgpt.commands import command
from glassgpt.errors import RunError
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import Lineage
from glassgpt.runs.reading import read_config, read_lineage
from glassgpt.runs.records import as_code
from glassgpt.runs.report import write_report
from glassgpt.runs.sending import public, public_path
from glassgpt.runs.summary import RunSummary, summarize

COPIED = (
    "tokenizer.json", "model.safetensors", "head.safetensors", "labels.json", "chat_template.jinja",
    "comparison.json", "confusion.json", "confusion.png", "loss.png", "metrics.jsonl", "note.txt",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Packed(RunDirectory):
    """A folder that is being written, under the name of its run."""

    called: str

    @property
    def name(self) -> str:
        return self.called


def pack(run: RunDirectory, folder: Path) -> None:
    """Write what another person needs of a run into a folder. Raises `RunError` when the run has no final weights."""
    lineage = read_lineage(run)
    if lineage.adapter is not None:
        raise RunError(
            f"{run.name} is an adapter, which needs its base. Export it with its base in one instead:  "
            f"{command('export', run.handle)}"
        )
    if not run.weights.is_file() or files.hash_file(run.weights) != lineage.weights_hash:
        raise RunError(
            f"{run.name} has no whole final weights to pack. Finish it first:  {command('resume', run.handle)}"
        )
    config = configs.to_dict(read_config(run))
    if "name" in config["tokenizer"]:
        config["tokenizer"]["name"] = run.tokenizer.name  # a path that is not absolute is the run's own file
    with files.atomic_directory(folder) as temporary:
        packed = _Packed(temporary, run.name)
        for name in COPIED:
            if (run.path / name).is_file():
                shutil.copy2(run.path / name, temporary / name)  # the report says from when the metrics are
        files.write_text(packed.config, tomli_w.dumps(public(config)))
        files.write_json(packed.lineage, public(lineage.to_json()))
        if run.finetune.is_file():
            files.write_text(packed.finetune, tomli_w.dumps(public(configs.read_toml(run.finetune))))
        write_report(packed)
        page = readme(run.name, folder.name, summarize(packed), lineage)
        files.write_text(temporary / "README.md", page)


def readme(name: str, folder: str, summary: RunSummary, lineage: Lineage) -> str:
    """Return a page for a person who finds the folder and does not know what it is."""
    answers = "classify" if lineage.labels is not None else "chat" if lineage.chat else "generate"
    what = {
        "classify": "puts labels on texts",
        "chat": "answers messages",
        "generate": "continues texts",
    }[answers]
    texts = (
        ", ".join(as_code(public_path(source.name)) for source in lineage.data.sources)
        if lineage.data
        else ""
    )
    loss = f", with a loss of {summary.best_loss:.3f} nats a token" if summary.best_loss is not None else ""
    bits = f" ({summary.bits_per_byte:.3f} bits a byte)" if summary.bits_per_byte is not None else ""
    further = {"classify": ["A text"], "chat": [], "generate": ["Once upon a time"]}[answers]
    return f"""# {as_code(name)}

A small language model with {lineage.model.parameters:,} parameters. It {what}. It was made with GlassGPT
{f"from {texts}" if texts else "elsewhere"}{loss}{bits}.
{f"{chr(10)}{as_code(summary.note)}{chr(10)}" if summary.note else ""}
## Use it

Install GlassGPT, then:

```
{command(answers, f"./{folder}", *further)}
```

A model of this size knows only the kind of text that it learned from. What it writes is invented.

## What is here

| file | what it is |
| --- | --- |
| `report.html` | how the training went, on one page: open it in a browser |
| `model.safetensors` | the weights |
| `tokenizer.json` | the vocabulary, in the format of Hugging Face |
| `config.toml` | every setting; names of folders were taken out |
| `lineage.json` | where text, vocabulary and weights came from, with their hashes |
| `metrics.jsonl` | the numbers of the training, one event per line |
| `manifest.json` | the SHA-256 of each file here |

It cannot be trained further as it was, because checkpoints were left out. It can be the base of a fine-tuning.
"""

"""Small runs to serve: one of documents, one that answers, and one of a single long text; and clients for them."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glassgpt.chat.templates import TEMPLATES
from glassgpt.model.config import ModelConfig
from glassgpt.runs.config import CorpusConfig, PromptsConfig, RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.training.config import TrainingConfig
from tests.fixtures.places import trained_in

pytest.importorskip("fastapi")

CONTEXT = 96
TRAINING = TrainingConfig(
    steps=8, evaluate_every=8, sample_every=0, batch_size=4, evaluate_tokens=256, warmup_steps=2,
    learning_rate=0.02, threads=1, precision="float32", device="cpu",
)  # fmt: skip
TALES = RunConfig(
    corpus=CorpusConfig(sources=("builtin:tinytales:60:1",)),
    tokenizer=TokenizerConfig(kind="bpe", vocab_size=300),
    model=ModelConfig(context_length=CONTEXT, n_layer=2, n_head=2, n_embd=16),
    training=TRAINING,
    samples=PromptsConfig(prompts=("",), max_tokens=4),
)
LINES = "the cat sat on the mat\nthe dog sat on the log\na bird sang to them\n" * 60


def letters(text: Path) -> RunConfig:
    return RunConfig(
        corpus=CorpusConfig(sources=(str(text),)),
        tokenizer=TokenizerConfig(kind="char"),
        model=ModelConfig(context_length=32, n_layer=1, n_head=2, n_embd=16),
        training=TRAINING,
        samples=PromptsConfig(prompts=("",), max_tokens=4),
    )


def teach(run: Path, template: str, stop: str) -> None:
    """Give a run a chat template, as a fine-tuning would."""
    (run / "chat_template.jinja").write_text(template)
    lineage = json.loads((run / "lineage.json").read_text())
    (run / "lineage.json").write_text(json.dumps(lineage | {"chat": {"stop": [stop]}}))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `runs` with `tales`, `answers` and `letters`. Copy it, never change it."""
    root = tmp_path_factory.mktemp("served")
    (root / "lines.txt").write_text(LINES)
    tales = trained_in(root, TALES, "tales").path
    trained_in(root, letters(root / "lines.txt"), "letters")
    shutil.copytree(tales, tales.parent / "answers")
    teach(tales.parent / "answers", TEMPLATES["alpaca"], "<|endoftext|>")
    return root / "runs"


@pytest.fixture
def runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the runs that a test may change."""
    folder = tmp_path / "runs"
    shutil.copytree(trained, folder)
    monkeypatch.setenv("GLASSGPT_RUNS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


Client = Any


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """A function that makes an app for some run folders: its other arguments are those of `create_app`."""
    from glassgpt.serving.app import create_app
    from glassgpt.serving.models import Models

    def made(*folders: Path, limits: Any = None, **settings: Any) -> Any:
        models = Models([RunDirectory(folder) for folder in folders], check_seconds=0)
        return create_app(models, limits, **settings)

    return made


@pytest.fixture(scope="module")
def client(trained: Path, serve: Callable[..., Any]) -> Iterator[Client]:
    """A client of a server of all three runs, in this process."""
    from fastapi.testclient import TestClient

    app = serve(trained / "tales", trained / "answers", trained / "letters")
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


@contextlib.contextmanager
def listening(app: Any, limits: Any = None) -> Iterator[str]:
    """Run a real server for an app in a thread, and give its address."""
    from glassgpt.serving.limits import Limits
    from glassgpt.serving.server import Server, address_of, bound_socket

    ready = threading.Event()
    with bound_socket("127.0.0.1", 0, "tales") as bound:
        server = Server(app, limits or Limits(), ready.set)
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        try:
            assert ready.wait(30)
            yield address_of(bound)
        finally:
            server.should_exit = True
            thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def live(trained: Path, serve: Callable[..., Any]) -> Iterator[str]:
    """The address of a real server of all three runs."""
    with listening(serve(trained / "tales", trained / "answers", trained / "letters")) as address:
        yield address

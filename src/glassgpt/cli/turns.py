"""The turns of a conversation on the terminal: who answers, what a line with a slash does, and what is saved."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from glassgpt import files
from glassgpt.errors import GenerationError, OutputError, did_you_mean

if TYPE_CHECKING:
    from glassgpt.chat.conversation import Chat
    from glassgpt.generation.text import GenerationConfig, TextEvent
    from glassgpt.runs.opening import Run

COMMANDS = {
    "/help": ("", "show these lines"),
    "/new": ("", "begin again, with nothing said before"),
    "/retry": ("", "write the last turn again"),
    "/system": ("[TEXT]", "show or set the system prompt (- for none)"),
    "/save": ("FILE", "write the conversation to a new file"),
    "/exit": ("", "leave, as /quit and Ctrl-D do"),
}


@dataclass(frozen=True)
class Turn:
    """What the run writes now, and what is shown before it."""

    events: Generator[TextEvent, None, None]
    before: str = ""


class Partner(Protocol):
    """A run in a conversation. A turn that cannot begin raises `GenerationError` at its first event."""

    def say(self, line: str) -> Turn | None:
        """Return the run's turn after a line; None if there is nothing to write."""
        ...

    def retry(self) -> Turn:
        """Return the last turn, written again. Raises `GenerationError` before the first."""
        ...

    def begin_again(self) -> None:
        """Forget all that was said."""
        ...

    def system(self, text: str, /) -> str:
        """Set the system prompt unless `text` is empty, and return a sentence about it."""
        ...

    def notes(self) -> Iterator[str]:
        """Yield sentences about the turn that was just written."""
        ...

    def transcript(self) -> str:
        """Return the conversation as text."""
        ...

    def messages(self) -> list[dict[str, str]] | None:
        """Return the conversation as messages; None where there are none."""
        ...


@dataclass
class _Draws:
    """Another seed for each turn, so that a second try is another one, and the same for the same conversation."""

    config: GenerationConfig
    turns: int = 0

    def next(self) -> GenerationConfig:
        self.turns += 1
        seed = self.config.seed
        return (
            self.config
            if seed is None
            else dataclasses.replace(self.config, seed=(seed + self.turns - 1) % 2**64)
        )

    def refuse_the_same(self) -> None:
        if self.config.temperature == 0:
            raise GenerationError(
                "At temperature 0 every try is the same. Begin again with another --temperature."
            )


class Answering:
    """A run that was taught to answer."""

    def __init__(self, chat: Chat, config: GenerationConfig) -> None:
        self._chat, self._draws = chat, _Draws(config)

    def say(self, line: str) -> Turn | None:
        """Return the answer; a blank line has none."""
        return Turn(self._chat.ask(line, self._draws.next())) if line.strip() else None

    def retry(self) -> Turn:
        """Return another answer to the last message."""
        if not self._chat.history:
            raise GenerationError("There is no answer yet to try again.")
        self._draws.refuse_the_same()
        *self._chat.history, asked, _answer = self._chat.history
        return Turn(self._chat.ask(asked.content, self._draws.next()))

    def begin_again(self) -> None:
        """Forget all messages; the system prompt stays."""
        self._chat.history = []

    def system(self, text: str, /) -> str:
        """Set the system prompt, from the next answer on."""
        if text:
            self._chat.system = None if text == "-" else text
        return (
            f"The system prompt is: {self._chat.system}"
            if self._chat.system
            else "There is no system prompt."
        )

    def notes(self) -> Iterator[str]:
        """Say how much of the conversation was left out."""
        if self._chat.left_out:
            yield (
                f"The first {self._chat.left_out} messages of the conversation no longer fit in the context and were "
                "left out."
            )

    def transcript(self) -> str:
        """Return who said what."""
        return "\n\n".join(f"{message['role']}: {message['content']}" for message in self.messages())

    def messages(self) -> list[dict[str, str]]:
        """Return the messages as fine-tuning reads them."""
        first = [{"role": "system", "content": self._chat.system}] if self._chat.system else []
        return first + [{"role": one.role, "content": one.content} for one in self._chat.history]


class Continuing:
    """A base model, which continues a text that both write."""

    def __init__(self, run: Run, config: GenerationConfig) -> None:
        self._run, self._draws = run, _Draws(config)
        self._text = ""
        self._last: tuple[str, str] | None = None
        self._asked = ""

    def say(self, line: str) -> Turn | None:
        """Return the continuation. What was written before is the context; the engine's window holds what fits."""
        return Turn(self._written(self._text, line), before=line)

    def retry(self) -> Turn:
        """Return another continuation in place of the last."""
        if self._last is None:
            raise GenerationError("Nothing was written yet that could be tried again.")
        self._draws.refuse_the_same()
        text, line = self._last
        return Turn(self._written(text, line), before=line)

    def _written(self, text: str, line: str) -> Generator[TextEvent, None, None]:
        written: str | None = None
        self._asked = text + line
        try:
            for event in self._run.stream(self._asked, self._draws.next(), engine="auto"):
                written = (written or "") + event.text
                yield event
        finally:
            if written is not None:
                self._text, self._last = text + line + written, (text, line)

    def begin_again(self) -> None:
        """Begin a new text."""
        self._text, self._last = "", None

    def system(self, _text: str, /) -> str:
        """Refuse: a base model has no system prompt."""
        raise GenerationError(f"{self._run.directory.name} is a base model and has no system prompt.")

    def notes(self) -> Iterator[str]:
        """Say how much of the text the model did not see."""
        if unseen := self._run.unseen(self._asked):
            yield unseen

    def transcript(self) -> str:
        """Return the text."""
        return self._text

    def messages(self) -> None:
        """A text has no messages."""
        return None


@dataclass
class Commands:
    """What lines with a slash do. `left` says that the user wants to leave."""

    partner: Partner
    say: Callable[[str], None]
    left: bool = False
    _saved: dict[Path, str] = field(default_factory=dict)
    """What this conversation has written, by file."""

    def obey(self, line: str) -> Turn | None:
        """Carry out a command; return the turn that it asks for. Raises `GlassGPTError` when it cannot."""
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name in ("/exit", "/quit"):
            self.left = True
        elif name == "/retry":
            return self.partner.retry()
        elif name == "/new":
            self.partner.begin_again()
            self.say("Nothing was said yet.")
        elif name == "/system":
            self.say(self.partner.system(rest))
        elif name == "/save":
            self.say(self._save(rest))
        else:
            known = (
                "" if name == "/help" else f"There is no {name} here.{did_you_mean(name, COMMANDS, most=1)}\n"
            )
            self.say(known + help_text())
        return None

    def _save(self, name: str) -> str:
        """Write the conversation to a file that is new, or that this conversation has written; say so."""
        if not name:
            raise OutputError("Name the file: /save FILE. A FILE.json holds messages, any other one text.")
        path = Path(name.strip("'\"")).expanduser()
        text = self.partner.transcript()
        messages = self.partner.messages()
        if path.suffix == ".json" and messages is not None:
            text = json.dumps([{"messages": messages}], indent=2, ensure_ascii=False)
        if not text.strip():
            raise OutputError("Nothing was said yet that could be saved.")
        text = files.as_utf8(text) + "\n"
        if (path.exists() or path.is_symlink()) and not self._is_ours(path):
            raise OutputError(
                f"{path} exists already, and this conversation did not write it. Choose another name."
            )
        files.write_text(path, text)
        self._saved[path.resolve()] = text
        return f"Saved in {path}"

    def _is_ours(self, path: Path) -> bool:
        """Return whether a file still is as this conversation has written it."""
        return path.is_file() and self._saved.get(path.resolve()) == path.read_text(
            encoding="utf-8", errors="replace"
        )


def help_text() -> str:
    """Return the list of commands, in lines of at most 60 characters."""
    lines = [f"  {f'{name} {value}':<15} {what}" for name, (value, what) in COMMANDS.items()]
    return "\n".join([*lines, f"  {'//':<15} at the beginning sends one slash"])

"""The messages of a conversation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `role` is "system", "user" or "assistant"; only assistant messages with `is_learned` are targets."""

    role: str
    content: str
    is_learned: bool = True

"""What a conversation is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `role` is "system", "user" or "assistant"; only what `is_learned` of the assistant's is a target."""

    role: str
    content: str
    is_learned: bool = True

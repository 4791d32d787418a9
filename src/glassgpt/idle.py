"""Settings that have no effect because of another setting, such as the momentum of an optimizer that is not used.

Each config lists the settings that are read only with some values of another one: `ONLY_WITH`, a tuple of
`OnlyWith`. With any other value such a setting is idle. If a person gives an idle setting, it is refused, because it
would have no effect. A file that names every setting, such as a run's `config.toml`, also holds idle ones, and those
are not mistakes. So the caller says which settings were given.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glassgpt.errors import ConfigError


@dataclass(frozen=True)
class OnlyWith:
    """Settings that are read only with some values of another one. Dots separate the sections of a config."""

    settings: tuple[str, ...]
    other: str
    values: tuple[Any, ...] = ()
    """The values of `other` with which the settings are read."""
    test: Callable[[Any], bool] | None = None
    """Takes a whole config and returns whether the settings are read, where `values` is not enough."""
    use: str = ""
    """What to set `other` to, in a word or two, where `test` decides; "" where no value would help. Where there is no
    other setting: the reason why nothing reads these."""

    def holds(self, config: Any) -> bool:
        """Return whether the settings are read."""
        return self.test(config) if self.test else value_of(config, self.other) in self.values

    @property
    def way_out(self) -> str:
        """What to set `other` to, in words; "" where no value would help."""
        return self.use or " or ".join(shown(value) for value in self.values if value)


@dataclass(frozen=True)
class Idle:
    """A setting that has no effect, and the setting that causes this."""

    setting: str
    other: str
    value: Any
    """The value of `other`."""
    way_out: str

    def message(self, spell: Callable[[str], str]) -> str:
        """Return what is wrong and the way out, in two sentences; `spell` says how a setting is written."""
        setting, other = spell(self.setting), spell(self.other)
        if not self.other:
            return f"{setting} has no effect: {self.way_out}. Leave it out."
        missing = self.value is None or self.value is False or self.value in ((), "")
        beside = f"without {other}" if missing else f"with {other} {shown(self.value)}".rstrip()
        if not self.way_out and not missing:
            return f"{setting} has no effect {beside}. Leave out one of the two."
        return f"{setting} has no effect {beside}. Use {f'{other} {self.way_out}'.rstrip()}, or leave out {setting}."


def idle(config: Any, rules: Sequence[OnlyWith] | None = None, prefix: str = "") -> Iterator[Idle]:
    """Yield the idle settings of a config and of its sections.

    `rules` are the rules for a mapping, which has no `ONLY_WITH`.
    """
    for rule in getattr(config, "ONLY_WITH", ()) if rules is None else rules:
        if not rule.holds(config):
            value = value_of(config, rule.other) if rule.other else None
            for setting in rule.settings:
                yield Idle(prefix + setting, prefix + rule.other, value, rule.way_out)
    for field in dataclasses.fields(config) if dataclasses.is_dataclass(config) else ():
        part = getattr(config, field.name)
        if dataclasses.is_dataclass(part):
            yield from idle(part, prefix=f"{prefix}{field.name}.")


def refuse_idle(
    config: Any,
    given: Collection[str],
    rules: Sequence[OnlyWith] | None = None,
    *,
    decided: Collection[str] | None = None,
) -> None:
    """Raise `ConfigError` for the first setting `given` on the command line that is idle.

    `decided` names the settings whose values are final, where others may still change: only a setting that one of
    these makes idle is refused.
    """
    for found in idle(config, rules):
        if found.setting in given and (decided is None or found.other in decided):
            raise ConfigError(found.message(option))


def option(setting: str) -> str:
    """Return a setting as it is written on the command line; a positional argument is in capitals."""
    return setting if setting.isupper() else "--" + setting.replace("_", "-")


def value_of(config: Any, setting: str) -> Any:
    """Return the value of a setting by its dotted name; for a mapping, which has no sections, by its key."""
    if isinstance(config, Mapping):
        return config[setting]
    return functools.reduce(getattr, setting.split("."), config)


def shown(value: Any) -> str:
    """Return a value as a person would give it; "" for a flag that is set."""
    if value is True:
        return ""
    if isinstance(value, (tuple, list)):
        return " ".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)

"""The wrappers that other programs put around the names of a model's weights, and how to remove them.

A model that was compiled, trained on several devices, or held by a trainer is saved under names such as
`_orig_mod.module.model.layers.0.mlp.up_proj.weight`. The parts that a wrapper has added say nothing about the model,
wherever in the name they are, so every format leaves them out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from glassgpt.errors import ModelError

WRAPPERS = frozenset(
    {
        "_orig_mod",  # torch.compile
        "module",  # DataParallel, DistributedDataParallel
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
        "_forward_module",  # Lightning, DeepSpeed
    }
)
PEFT = "base_model.model."
HOLDER = "model."
"""What a trainer's class calls its model, in front of every name."""


def unwrap(names: Iterable[str]) -> dict[str, str]:
    """Map each name without wrappers to the full name. Raises `ModelError` when two become the same."""
    plain: dict[str, str] = {}
    for name in names:
        short = ".".join(part for part in name.split(".") if part not in WRAPPERS).removeprefix(PEFT)
        if plain.setdefault(short, name) != name:
            raise ModelError(
                f"The weights have {plain[short]} and {name}, which are two names of one tensor, and nothing shows "
                "which one counts. Save the model again without its wrapper."
            )
    while plain and all(name.startswith(HOLDER) for name in plain):
        plain = {name.removeprefix(HOLDER): given for name, given in plain.items()}
    return plain


def place_of(name: str, plain: Collection[str]) -> str | None:
    """Return a tensor's name in `plain`: some files leave out the "transformer." or "model." in front of all names."""
    return next((one for one in (name, name.partition(".")[2]) if one in plain), None)

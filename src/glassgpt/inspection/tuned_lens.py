"""The tuned lens: a logit lens that first translates each depth into the terms that the model's head reads.

    q_l = softmax(head(final norm(x_l + A_l x_l + b_l)))

The logit lens (`lens`) reads early depths badly, because later blocks also turn and shift the stream. Belrose et al.
(2023, "Eliciting Latent Predictions from Transformers with the Tuned Lens", section 3) learn one affine map for each
depth but the last. Each is trained so that its prediction is as near as possible to the model's own, p:

    minimize the mean over tokens of KL(p || q_l)

A and b begin at 0, so that an untrained lens is the logit lens. The model does not change. A lens belongs to the exact
weights it was trained for, and is saved with their hash.

Legend: L layers (the depths with a translator), B rows, T tokens, P tokens at a time, C = n_embd, V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from glassgpt import files
from glassgpt.errors import InspectionError
from glassgpt.generation.likelihood import LOGITS_AT_ONCE
from glassgpt.inspection.attribution import differentiable
from glassgpt.inspection.lens import Lens, depths, divergence, log_predictions, through
from glassgpt.model.gpt import GPT
from glassgpt.model.points import looking

FORMAT = 1
"""The version of a saved lens."""

Report = Callable[[int, Tensor], None]
"""Called after each step with its number, from 1, and the mean divergence of each depth before it in nats, (L,)."""


@dataclass(frozen=True)
class TunedLens:
    """A translator for each depth of one model but the last."""

    matrices_LCC: Tensor
    """A of each depth, float32 on the CPU, (L, C, C)."""
    biases_LC: Tensor
    """b of each depth, float32 on the CPU, (L, C)."""
    weights: str
    """The hash of the model's weights that it was trained for; see `fingerprint`."""

    def read(self, model: GPT, ids: Sequence[int], *, most: int = 5) -> Lens:
        """Return what the model predicts at each depth, as `logit_lens` does, with each depth translated.

        Raises `InspectionError` for a model of another shape, and as `logit_lens` does. The hash of the weights is only
        compared when the lens is loaded.
        """
        self._require_shape(model, "This lens")
        return through(model, ids, most=most, translate=self.translate)

    def translate(self, name: str, x_PC: Tensor) -> Tensor:
        """Return the translated stream of a point, (P, C). The last depth stays as it is."""
        depth = 0 if name == "embedding" else int(name.split(".")[1]) + 1
        if depth == len(self.biases_LC):
            return x_PC
        return _translated(x_PC, self.matrices_LCC[depth].to(x_PC), self.biases_LC[depth].to(x_PC))

    def save(self, path: Path) -> None:
        """Write the lens as a safetensors file; one that is there is replaced."""
        facts = {"format": FORMAT, "weights": self.weights}
        tensors = {"matrices": self.matrices_LCC.contiguous(), "biases": self.biases_LC.contiguous()}
        with files.atomic_write(path, "wb") as file:
            file.write(save(tensors, {"tuned_lens": json.dumps(facts)}))

    @classmethod
    def load(cls, path: Path, model: GPT) -> TunedLens:
        """Read a lens that was trained for this model.

        Raises `InspectionError` where the file holds no whole lens, or that of other weights.
        """
        try:
            with safe_open(path, framework="pt") as file:
                facts: dict[str, Any] = json.loads(file.metadata()["tuned_lens"])
                version, weights = facts["format"], facts["weights"]
                lens = cls(file.get_tensor("matrices"), file.get_tensor("biases"), weights)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InspectionError(
                f"{path} does not hold a whole tuned lens ({error}). Fit it again."
            ) from error
        if version != FORMAT:
            raise InspectionError(
                f"{path} has a lens of format {version}, and this version reads format {FORMAT}. Fit it again."
            )
        lens._require_shape(model, str(path))
        if weights != fingerprint(model):
            raise InspectionError(
                f"{path} was fitted to other weights. Fit a lens to these, or open the model that it belongs to."
            )
        return lens

    def _require_shape(self, model: GPT, what: str) -> None:
        layers, width = model.config.n_layer, model.config.n_embd
        found = tuple(self.matrices_LCC.shape), tuple(self.biases_LC.shape)
        if found != ((layers, width, width), (layers, width)):
            raise InspectionError(
                f"{what} has translators of the shapes {found[0]} and {found[1]}, and the model has {layers} layers of "
                f"width {width}. Fit a lens to this model."
            )


def untrained(model: GPT) -> TunedLens:
    """Return the lens before training, which is the logit lens."""
    layers, width = model.config.n_layer, model.config.n_embd
    return TunedLens(torch.zeros(layers, width, width), torch.zeros(layers, width), fingerprint(model))


def fit(
    model: GPT,
    batches: Iterable[Tensor],
    *,
    steps: int = 250,
    learning_rate: float = 1e-3,
    report: Report | None = None,
) -> TunedLens:
    """Return a lens trained on batches of ids, int64 (B, T); they begin again when they end before the last step.

    The optimizer is Adam (Kingma and Ba, 2015) with torch's betas; its learning rate falls linearly to 0. The weights
    of the model do not change, and get no gradients. Memory: the stream of each depth for one batch, and a few times
    `LOGITS_AT_ONCE` numbers.

    Raises `InspectionError` for batches of another shape or longer than the context, when there are none left, when
    the divergence is no longer finite, and for weights that have no gradients (see `attribution.differentiable`).
    """
    if steps < 1:
        raise InspectionError(f"A lens cannot be fitted in {steps} steps. Give 1 or more.")
    if not 0 < learning_rate < math.inf:
        raise InspectionError(f"learning_rate = {learning_rate}: it must be a number above 0.")
    with differentiable(model):
        start, device = untrained(model), model.token_embedding.weight.device
        matrices_LCC, biases_LC = (
            tensor.clone().to(device).requires_grad_(True) for tensor in (start.matrices_LCC, start.biases_LC)
        )
        optimizer = torch.optim.Adam([matrices_LCC, biases_LC], lr=learning_rate)
        for step, ids_BT in enumerate(_repeated(batches, steps)):
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
            streams = _streams(model, _checked(model, ids_BT))
            divergence_L = _slopes(model, streams, matrices_LCC, biases_LC)
            if not divergence_L.isfinite().all():
                raise InspectionError(
                    f"The divergence was not finite at step {step + 1}. Fit with a lower learning_rate than "
                    f"{learning_rate:g}."
                )
            optimizer.step()
            if report is not None:
                report(step + 1, divergence_L)
        return TunedLens(matrices_LCC.detach().cpu(), biases_LC.detach().cpu(), start.weights)


def fingerprint(model: GPT) -> str:
    """Return the SHA-256 of all weights, with their names, types and shapes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted({**dict(model.named_parameters()), **dict(model.named_buffers())}.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _translated(x_PC: Tensor, matrix_CC: Tensor, bias_C: Tensor) -> Tensor:
    return x_PC + x_PC @ matrix_CC.T + bias_C


def _repeated(batches: Iterable[Tensor], steps: int) -> Iterator[Tensor]:
    """Yield as many batches as there are steps, from the beginning again when they end."""
    done = 0
    while done < steps:
        before = done
        for ids_BT in batches:
            yield ids_BT
            done += 1
            if done == steps:
                return
        if done == before:
            raise InspectionError(
                f"The batches ended after {done} of {steps} steps. Give more of them, or a list, which can be read "
                "again."
            )


def _checked(model: GPT, ids_BT: Tensor) -> Tensor:
    most = model.config.context_length
    if ids_BT.dim() != 2 or not ids_BT.numel() or ids_BT.shape[1] > most:
        raise InspectionError(
            f"A batch has the shape {tuple(ids_BT.shape)}. Give rows of equal length, from 1 to {most:,} ids."
        )
    return ids_BT.to(
        model.token_embedding.weight.device
    ).clone()  # a tensor of inference mode has no gradients


@torch.no_grad()
def _streams(model: GPT, ids_BT: Tensor) -> list[Tensor]:
    """Return the stream at each depth, all rows one after the other, L + 1 of (B T, C)."""
    found: dict[str, Tensor] = {}
    names = depths(model.config)
    with looking(model, *names, see=lambda name, value: found.__setitem__(name, value.flatten(0, 1))):
        model(ids_BT, then=lambda _, hidden: hidden)
    return [found[name] for name in names]


def _slopes(model: GPT, streams: Sequence[Tensor], matrices_LCC: Tensor, biases_LC: Tensor) -> Tensor:
    """Set the gradients of the mean divergence of each depth, and return these divergences, (L,) on the CPU."""
    matrices_LCC.grad, biases_LC.grad = torch.zeros_like(matrices_LCC), torch.zeros_like(biases_LC)
    divergence_L = torch.zeros(len(biases_LC))
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    count = len(streams[0])
    for parts in zip(*(stream.split(at_once) for stream in streams), strict=True):
        with torch.no_grad():
            own_PV = log_predictions(model, parts[-1])
        for depth, x_PC in enumerate(parts[:-1]):
            matrix_CC, bias_C = (
                tensor[depth].detach().requires_grad_(True) for tensor in (matrices_LCC, biases_LC)
            )
            # The translation is computed in float32, and what follows in the model's own precision.
            translated_PC = _translated(x_PC.float(), matrix_CC, bias_C).to(x_PC.dtype)
            share = divergence(own_PV, log_predictions(model, translated_PC)).sum() / count
            of_matrix, of_bias = torch.autograd.grad(share, (matrix_CC, bias_C))
            matrices_LCC.grad[depth] += of_matrix
            biases_LC.grad[depth] += of_bias
            divergence_L[depth] += share.detach().cpu()
    return divergence_L

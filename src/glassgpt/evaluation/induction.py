"""Induction: a row of random tokens occurs twice; does the model copy the second from the first?

    a q x f ... a q x -> f

No training text has such rows, so only a mechanism helps: find where the last token occurred before, and repeat what
followed it. Two layers of attention can learn it, and in-context learning begins with it (Olsson et al., 2022,
"In-context Learning and Induction Heads"). The difference in loss between the two halves shows how much the model
gains from having seen the row; the accuracy shows how much of it is copied correctly.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from glassgpt.errors import EvaluationError
from glassgpt.evaluation.score import Score, Subject, mean_of
from glassgpt.generation.likelihood import LOGITS_AT_ONCE
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.tokenizers.fast import FastTokenizer

ROWS = 64
MOST_LENGTH = 50
"""Tokens of the repeated row, where two such rows fit into the context."""
LEAST_LENGTH = 4


def induction(subject: Subject) -> Score:
    """Return the share of tokens of the second half that are the model's first choice.

    The first token of a half cannot be predicted, so neither half counts it. Raises `EvaluationError` where the
    context length or the vocabulary is too small for a repeated row.
    """
    run = subject.run
    ids = ordinary_ids(run.tokenizer)
    length = min(MOST_LENGTH, run.model.config.context_length // 2, len(ids))
    if length < LEAST_LENGTH:
        raise EvaluationError(
            f"`induction` repeats a row of {LEAST_LENGTH} tokens or more, which does not fit into a context of "
            f"{run.model.config.context_length} tokens and a vocabulary of {len(ids)}."
        )
    rows = repeated_rows(ids, length, rows=ROWS, seed=subject.seed)
    nats, right = _next_tokens(run.model, np.insert(rows, 0, run.prompt_ids("")[-1], axis=1))
    halves = slice(1, length), slice(length + 1, 2 * length)
    accuracy, error = mean_of(right[:, halves[1]].mean(1).tolist())
    first, second = (nats[:, half].mean().item() for half in halves)
    details = {
        "loss, first half": first,
        "loss, second half": second,
        "accuracy, first half": right[:, halves[0]].mean().item(),
    }
    chance = 1 / len(ids)
    return Score("induction", "repeated tokens copied", accuracy, chance, error, ROWS * (length - 1), details)


def ordinary_ids(tokenizer: FastTokenizer) -> np.ndarray:
    """Return the ids that represent text, int64 (N,)."""
    return np.flatnonzero(tokenizer.byte_lengths())


def repeated_rows(ids: np.ndarray, length: int, *, rows: int, seed: int) -> np.ndarray:
    """Return int64 (rows, 2 length): each row has two equal halves, without a repeated token within a half.

    So the next token is always determined: it follows the only earlier place of the last one.
    """
    random = np.random.default_rng(seed)
    halves = np.stack([random.choice(ids, length, replace=False) for _ in range(rows)])
    return np.concatenate([halves, halves], axis=1)


@torch.inference_mode()
def _next_tokens(model: GPT, ids_BT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each token after the first its loss in nats, and whether it is the first choice: (B, T - 1)."""
    rows = torch.from_numpy(ids_BT).to(model.head_weight.device)
    together = max(1, LOGITS_AT_ONCE // (rows.shape[1] * model.config.vocab_size))
    nats, right = [], []
    with evaluating(model):
        for ids in rows.split(together):
            logits = model(ids[:, :-1]).float()
            nats.append(F.cross_entropy(logits.mT, ids[:, 1:], reduction="none").cpu())
            right.append((logits.argmax(-1) == ids[:, 1:]).cpu())
    return torch.cat(nats).numpy(), torch.cat(right).numpy()

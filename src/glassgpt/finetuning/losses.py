"""The losses of fine-tuning, each by the formula of its paper, as functions of a model and the tensors of a batch.

Legend: B rows, T tokens, N targets that count, V vocabulary; P pairs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from glassgpt.model.gpt import GPT
from glassgpt.model.summary import FLOAT32
from glassgpt.training.losses import hidden_loss


def answer_loss(model: GPT, inputs_BT: Tensor, segments_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """Return the mean cross-entropy of the targets that count, in nats: supervised fine-tuning.

    Logits are computed only for rows that contain the assistant's tokens.
    """
    counted_BT = targets_BT >= 0

    def loss(model: GPT, hidden_BTC: Tensor) -> Tensor:
        return hidden_loss(model, hidden_BTC[counted_BT], targets_BT[counted_BT])

    return model(inputs_BT, segments_BT=segments_BT, then=loss)


def log_probabilities(model: GPT, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """Return the log-probability of each target, (B, T) in nats, and 0 where it does not count."""
    counted_BT = targets_BT >= 0
    logits_NV = model(inputs_BT, then=lambda model, hidden_BTC: model.logits(hidden_BTC[counted_BT])).float()
    found_N = -F.cross_entropy(logits_NV, targets_BT[counted_BT], reduction="none")
    return torch.zeros(targets_BT.shape, device=found_N.device).masked_scatter(counted_BT, found_N)


def log_probabilities_bytes(targets: int, vocab_size: int) -> int:
    """Return the bytes of `log_probabilities`: the logits of all targets, their log-softmax, and its gradient."""
    return 3 * FLOAT32 * targets * vocab_size


def dpo_loss(chosen_P: Tensor, rejected_P: Tensor, beta: float) -> Tensor:
    """Return the loss of Rafailov et al. (2023, "Direct Preference Optimization", equation 7).

        -log sigmoid(beta (r_chosen - r_rejected))        r = log p_model(answer) - log p_base(answer)

    The arguments are these two r for each pair; beta r is the implicit reward.
    """
    return -F.logsigmoid(beta * (chosen_P - rejected_P)).mean()


def advantages(rewards_PG: Tensor) -> Tensor:
    """Return how much better each answer is than its group, (P, G): (reward - mean) / deviation.

    Shao et al. (2024, "DeepSeekMath", section 4.1.2). A group of equal rewards teaches nothing: its advantages are
    all 0.
    """
    centred_PG = rewards_PG - rewards_PG.mean(1, keepdim=True)
    return centred_PG / (rewards_PG.std(1, keepdim=True, correction=0) + 1e-4)


def grpo_loss(
    log_probabilities_BT: Tensor, base_BT: Tensor, advantages_B: Tensor, counted_BT: Tensor, beta: float
) -> Tensor:
    """Return the loss of one update on fresh answers (Shao et al., 2024, equations 3 and 4).

        1/N Σ_i Σ_t [ -ratio_it A_i + beta (exp(d_it) - d_it - 1) ]        d = log p_base - log p

    Each batch is written by the weights that it updates. So the ratio to the weights that wrote it is 1, only its
    gradient matters, and clipping it would change nothing. The divergence from the base is the estimate of equation
    4, which is never below 0. N is the number of all tokens t of all answers i, so each token has the same weight (Yu
    et al., 2025, "DAPO", equation 12). Equation 3 has 1/|o_i| for each answer instead, so a token of a long answer
    weighs less.
    """
    ratio_BT = (log_probabilities_BT - log_probabilities_BT.detach()).exp()
    gain_BT = ratio_BT * advantages_B.unsqueeze(-1)
    loss_BT = -gain_BT if beta == 0 else beta * divergence(log_probabilities_BT, base_BT) - gain_BT
    return (loss_BT * counted_BT).sum() / counted_BT.sum()


def divergence(log_probabilities: Tensor, base: Tensor) -> Tensor:
    """Return the estimate of the divergence from the base at each drawn token (Schulman, 2020, "k3")."""
    difference = base - log_probabilities
    return difference.exp() - difference - 1


def distillation_loss(
    student_NV: Tensor, teacher_NV: Tensor, targets_N: Tensor, *, temperature: float, alpha: float
) -> Tensor:
    """Return the loss of Hinton et al. (2015, "Distilling the Knowledge in a Neural Network", section 2).

        alpha CE(student, text) + (1 - alpha) t² KL(teacher^(1/t) || student^(1/t))

    t² keeps the gradients of the second part as large as those of the first, whatever the temperature.
    """
    text = F.cross_entropy(student_NV.float(), targets_N)
    soft = F.kl_div(
        (student_NV.float() / temperature).log_softmax(-1),
        (teacher_NV.float() / temperature).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )
    return alpha * text + (1 - alpha) * temperature**2 * soft

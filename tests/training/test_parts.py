"""An optimizer is one entry: it trains, resumes, is counted and planned with, whether ours or from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.errors import ConfigError
from glassgpt.idle import refuse_idle
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.summary import block_matrices, count_parameters, training_bytes
from glassgpt.training.config import LoopConfig, TrainingConfig
from glassgpt.training.losses import next_token_loss
from glassgpt.training.optimizers import make_optimizer
from glassgpt.training.parts import OPTIMIZERS, OptimizerPart
from glassgpt.training.state import Progress, capture, restore

SMALL = ModelConfig(vocab_size=31, context_length=16, n_layer=2, n_head=2, n_embd=16, tied_head=False)


class SignDescent(torch.optim.Optimizer):
    """Steps of one size along the sign of the averaged gradient."""

    def __init__(self, params, lr: float, memory: float) -> None:
        super().__init__(params, {"lr": lr, "memory": memory})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 1 - group["memory"])
                weight.sub_(mean.sign(), alpha=group["lr"])


def sign_descent(model: torch.nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    own = {"memory": 0.9, **(config.optimizer_settings or {})}
    return SignDescent(model.parameters(), config.learning_rate, own["memory"])


SIGN = OptimizerPart(
    sign_descent, kept=lambda matrices, others: matrices + others, plan=lambda _steps, _width: {"learning_rate": 1e-3},
    settings={"memory": 0.9},
)  # fmt: skip


@pytest.fixture
def sign() -> Iterator[str]:
    OPTIMIZERS.add("sign", SIGN)
    yield "sign"
    OPTIMIZERS.remove("sign")


def some_updates(model: GPT, optimizer: torch.optim.Optimizer, count: int) -> list[float]:
    losses = []
    for _ in range(count):
        ids = torch.randint(31, (2, 13))
        loss = next_token_loss(model, ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", ["adamw", "muon", "sign"])
def test_it_trains_and_goes_on_from_a_snapshot_with_the_same_bits(name: str, sign: str) -> None:
    torch.manual_seed(0)
    config = TrainingConfig(optimizer=name)
    model = GPT(SMALL)
    optimizer = make_optimizer(model, config)
    some_updates(model, optimizer, 3)
    state = capture(model, optimizer, Progress(step=3))
    state.model = {key: value.clone() for key, value in state.model.items()}
    state.optimizer = {key: value.clone() for key, value in state.optimizer.items()}
    expected = some_updates(model, optimizer, 3)
    again = GPT(SMALL)
    other = make_optimizer(again, config)
    restore(state, again, other)
    assert some_updates(again, other, 3) == expected


@pytest.mark.parametrize("name", ["adamw", "muon", "sign"])
def test_what_it_says_to_keep_is_what_it_keeps(name: str, sign: str) -> None:
    model = GPT(SMALL)
    optimizer = make_optimizer(model, TrainingConfig(optimizer=name))
    some_updates(model, optimizer, 1)
    held = sum(
        value.numel()
        for slots in optimizer.state_dict()["state"].values()
        for slot, value in slots.items()
        if slot != "step"
    )
    matrices = block_matrices(SMALL)
    kept = OPTIMIZERS[name].kept
    assert kept(matrices, count_parameters(SMALL) - matrices) == held
    assert training_bytes(SMALL, batch_size=2, kept=kept).optimizer == 4 * held


@given(
    name=st.sampled_from(["adamw", "muon"]),
    steps=st.integers(1, 10**6),
    width=st.sampled_from([64, 128, 1024]),
)
def test_planned_rates_fall_with_length_and_width(name: str, steps: int, width: int) -> None:
    plan = OPTIMIZERS[name].plan
    now, longer, wider = plan(steps, width), plan(2 * steps, width), plan(steps, 4 * width)
    TrainingConfig(optimizer=name, **{**now, "min_learning_rate": 0.0})
    for rate in (setting for setting in now if setting.endswith("rate")):
        assert 0 < longer[rate] <= now[rate]
    assert wider["learning_rate"] == now["learning_rate"] / 2


def test_the_rates_that_were_measured() -> None:
    plan = OPTIMIZERS["muon"].plan(60, 128)
    assert (plan["learning_rate"], plan["matrix_learning_rate"]) == (0.02, 0.04)


def test_its_own_settings_are_checked_and_reach_it(sign: str) -> None:
    optimizer = make_optimizer(
        GPT(SMALL), TrainingConfig(optimizer="sign", optimizer_settings={"memory": 0.5})
    )
    assert optimizer.param_groups[0]["memory"] == 0.5
    with pytest.raises(ConfigError, match=r"sign has no setting 'memry'. Did you mean memory"):
        TrainingConfig(optimizer="sign", optimizer_settings={"memry": 0.5})
    with pytest.raises(ConfigError, match=r"adamw has no setting 'memory'. It has: none of its own"):
        TrainingConfig(optimizer_settings={"memory": 0.5})


def test_an_unknown_optimizer_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no 'adam' among the optimizers. Did you mean adamw\?"):
        TrainingConfig(optimizer="adam")


def test_settings_of_muon_stay_idle_beside_another(sign: str) -> None:
    with pytest.raises(ConfigError, match="momentum has no effect with"):
        refuse_idle(TrainingConfig(optimizer="sign", momentum=0.5), ["momentum"])

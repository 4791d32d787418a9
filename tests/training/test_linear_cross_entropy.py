"""The fused loss against torch's plain one, and its gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glassgpt.training import linear_cross_entropy as module
from glassgpt.training.linear_cross_entropy import linear_cross_entropy, linear_token_losses


def problem(n: int, c: int, v: int, *, seed: int = 0, dtype: torch.dtype = torch.float64, scale: float = 1.0):
    generator = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (
        (scale * torch.randn(size, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()
        for size in ((n, c), (v, c), (v,))
    )
    return hidden, weight, bias, torch.randint(v, (n,), generator=generator)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three words per group, so that the smallest problems have several groups and a shorter last one."""
    monkeypatch.setattr(module, "GROUP_WORDS", {"cpu": 3})
    monkeypatch.setattr(module, "CHUNK_BYTES", {"cpu": 120})


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("with_bias", [False, True])
def test_gradients_equal_finite_differences(with_bias: bool) -> None:
    hidden, weight, bias, targets = problem(5, 4, 7)
    if with_bias:
        assert torch.autograd.gradcheck(
            lambda h, w, b: linear_cross_entropy(h, w, targets, b), (hidden, weight, bias)
        )
    else:
        assert torch.autograd.gradcheck(lambda h, w: linear_cross_entropy(h, w, targets), (hidden, weight))


@given(
    n=st.integers(1, 9), c=st.integers(1, 5), v=st.integers(1, 11), words=st.integers(1, 12),
    chunk=st.integers(1, 1000), seed=st.integers(0, 99), scale=st.sampled_from([0.1, 1.0, 30.0]),
)  # fmt: skip
@settings(deadline=None)
def test_however_it_is_cut_it_equals_the_plain_form(n, c, v, words, chunk, seed, scale) -> None:
    hidden, weight, bias, targets = problem(n, c, v, seed=seed, scale=scale)
    plain = F.cross_entropy(F.linear(hidden, weight, bias), targets)
    expected = torch.autograd.grad(plain * 0.37, (hidden, weight, bias))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GROUP_WORDS", {"cpu": words})
        patch.setattr(module, "CHUNK_BYTES", {"cpu": chunk})
        loss = linear_cross_entropy(hidden, weight, targets, bias)
        gradients = torch.autograd.grad(loss * 0.37, (hidden, weight, bias))
        each = linear_token_losses(hidden, weight, targets, bias)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(each.mean(), plain.detach())
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_float32_is_as_exact_as_the_plain_form() -> None:
    """Both forms are compared with float64: the fused one may not be further off than twice the plain one."""
    exact = gradients_of(lambda h, w, b, t: F.cross_entropy(F.linear(h, w, b), t), torch.float64)
    plain = gradients_of(lambda h, w, b, t: F.cross_entropy(F.linear(h, w, b), t), torch.float32)
    fused = gradients_of(lambda h, w, b, t: linear_cross_entropy(h, w, t, b), torch.float32)
    for ours, theirs, truth in zip(fused, plain, exact, strict=True):
        rounding = 4 * torch.finfo(torch.float32).eps * truth.abs().max()
        assert (ours - truth).abs().max() <= 2 * (theirs - truth).abs().max() + rounding


def gradients_of(loss, dtype: torch.dtype) -> list[Tensor]:
    hidden, weight, bias, targets = problem(300, 16, 5000, dtype=dtype)
    value = loss(hidden, weight, bias, targets)
    gradients = torch.autograd.grad(value, (hidden, weight, bias))
    return [tensor.double() for tensor in (value.detach(), *gradients)]


def test_logits_far_beyond_the_range_of_exp_do_no_harm() -> None:
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[1e4], [-1e4], [0.0]])
    loss = linear_cross_entropy(hidden.requires_grad_(), weight.requires_grad_(), torch.tensor([1]))
    loss.backward()
    assert loss.item() == 2e4
    assert hidden.grad is not None
    assert hidden.grad.item() == 2e4
    assert weight.grad is not None
    assert weight.grad.flatten().tolist() == [1.0, -1.0, 0.0]


def test_under_bfloat16_autocast_the_loss_is_float32_and_weights_get_their_own_dtype() -> None:
    hidden, weight, bias, targets = problem(64, 32, 500, dtype=torch.float32, scale=0.5)
    exact = F.cross_entropy(F.linear(hidden, weight, bias), targets)
    wanted = torch.autograd.grad(exact, weight)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(hidden.bfloat16(), weight, targets, bias)
    gradient = torch.autograd.grad(loss, weight)[0]
    assert loss.dtype == gradient.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0.0)
    assert (gradient - wanted).norm() < 0.02 * wanted.norm()


def test_no_logits_are_held_as_a_whole() -> None:
    """torch allocates little more than one chunk at once; the plain form takes the whole table and more."""
    hidden, weight, bias, targets = problem(512, 8, 20000, dtype=torch.float32)
    whole = 512 * 20000 * 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", {"cpu": whole // 8})
        fused = largest_allocation(lambda: linear_cross_entropy(hidden, weight, targets, bias).backward())
    plain = largest_allocation(lambda: F.cross_entropy(F.linear(hidden, weight, bias), targets).backward())
    assert plain >= whole
    assert fused <= whole // 8


def largest_allocation(work) -> int:
    with torch.profiler.profile(profile_memory=True) as profile:
        work()
    events = profile.profiler.kineto_results.events() if profile.profiler else []
    return max(event.nbytes() for event in events if event.name() == "[memory]")


@pytest.mark.usefixtures("small_pieces")
def test_a_frozen_head_costs_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """With LoRA the head is frozen, but its gradient, as large as the head itself, was once computed anyway."""
    hidden, weight, bias, targets = problem(5, 4, 7)
    weight.requires_grad_(False)
    bias.requires_grad_(False)
    monkeypatch.setattr(module, "_add_product", None)  # makes what nobody asks for: must not be called
    linear_cross_entropy(hidden, weight, targets, bias).backward()
    found = hidden.grad
    assert found is not None
    assert weight.grad is None
    (expected,) = torch.autograd.grad(F.cross_entropy(hidden @ weight.T + bias, targets), hidden)
    torch.testing.assert_close(found, expected)

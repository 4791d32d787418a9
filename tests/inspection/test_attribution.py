"""Attributions are the derivatives and differences of their formulas, add up, and fall on the token that counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from glassgpt.errors import InspectionError
from glassgpt.inspection import attribution
from glassgpt.inspection.attribution import differentiable, gradients, integrated, occlusion
from glassgpt.model.gpt import GPT
from glassgpt.model.int8 import Int8Linear, quantize
from tests.inspection.conftest import IDS, model_of

PLACE, TARGET = 6, 7


def as_head(weight_VC: Tensor) -> nn.Linear:
    head = nn.Linear(*reversed(weight_VC.shape), bias=False)
    head.weight = nn.Parameter(weight_VC.detach(), requires_grad=False)
    return head


class Table(nn.Module):
    """An embedding that returns given vectors, whatever the ids."""

    def __init__(self, vectors_TC: Tensor) -> None:
        super().__init__()
        self.vectors_TC = vectors_TC

    def forward(self, ids_BT: Tensor) -> Tensor:
        return self.vectors_TC[None]


def value(model: GPT, vectors_TC: Tensor, *, place: int = PLACE, target: int = TARGET) -> Tensor:
    """Return the log-probability with other vectors of the tokens: the embedding module itself is replaced."""
    head, table = model.head, model.token_embedding
    model.head = head or as_head(table.weight)
    model.token_embedding = Table(vectors_TC)  # pyright: ignore
    try:
        logits_TV = model(torch.zeros(1, len(vectors_TC), dtype=torch.int64))[0]
    finally:
        model.head, model.token_embedding = head, table
    return logits_TV[place].log_softmax(-1)[target]


def vectors_of(model: GPT) -> Tensor:
    return model.token_embedding.weight.detach()[IDS].clone()


def test_gradients_are_those_of_autograd_by_hand(model: GPT) -> None:
    model.double()
    e = vectors_of(model).requires_grad_(True)
    (slope,) = torch.autograd.grad(value(model, e), e)
    found = gradients(model, IDS, place=PLACE, target=TARGET)
    torch.testing.assert_close(found, (slope * e).detach().sum(-1), rtol=1e-9, atol=1e-9)
    assert (found[PLACE + 1 :] == 0).all()
    assert (found[: PLACE + 1] != 0).sum() >= 3


def test_gradients_are_central_differences(model: GPT) -> None:
    """Gradient times input is the slope when a token's vector is scaled."""
    model.double()
    e, found, step = vectors_of(model), gradients(model, IDS, place=PLACE, target=TARGET), 1e-5
    for t in range(len(IDS)):
        ends = []
        for sign in (1, -1):
            scaled = e.clone()
            scaled[t] *= 1 + sign * step
            ends.append(float(value(model, scaled)))
        assert float(found[t]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("baseline", ["zeros", "id", "one vector", "vectors"])
def test_integrated_gradients_are_complete(baseline: str, model: GPT) -> None:
    model.double()
    torch.manual_seed(1)
    e, width = vectors_of(model), 16
    given = {
        "zeros": None, "id": 2, "one vector": torch.randn(width).double(),
        "vectors": torch.randn(len(IDS), width).double(),
    }[baseline]  # fmt: skip
    start = {
        "zeros": torch.zeros_like(e), "id": model.token_embedding.weight[2].expand_as(e),
    }.get(baseline, given if given is None or isinstance(given, int) else given.expand_as(e))  # fmt: skip
    assert isinstance(start, Tensor)
    # ReLU has a kink for each neuron on the way, and needs more steps for fewer digits.
    steps, near = (1024, 1e-2) if model.config.activation == "relu" else (512, 1e-3)
    found = integrated(model, IDS, place=PLACE, target=TARGET, baseline=given, steps=steps)
    difference = float(value(model, e) - value(model, start))
    assert found.difference == pytest.approx(difference, abs=1e-9)
    assert float(found.tokens.sum()) == pytest.approx(difference, abs=near)
    assert found.gap == pytest.approx(float(found.tokens.sum()) - difference, abs=1e-9)
    assert (found.tokens[PLACE + 1 :] == 0).all()


def test_integrated_gradients_are_the_sum_over_many_small_steps() -> None:
    """The paper's sum over equal steps, where the path is smooth enough for it."""
    model, steps = model_of("gpt2").double(), 400
    e, total = vectors_of(model), torch.zeros(len(IDS), dtype=torch.float64)
    start = model.token_embedding.weight[2].expand_as(e)
    for k in range(steps):
        x = (start + (k + 0.5) / steps * (e - start)).detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(value(model, x), x)
        total += ((e - start) * slope).sum(-1) / steps
    found = integrated(model, IDS, place=PLACE, target=TARGET, baseline=2, tolerance=1e-6)
    torch.testing.assert_close(found.tokens, total, rtol=1e-4, atol=1e-4)


def test_few_steps_leave_a_gap_that_is_given() -> None:
    model = model_of("usual").double()
    rough, fine = (integrated(model, IDS, target=TARGET, steps=steps) for steps in (8, 512))
    assert abs(rough.gap) > 0.01
    assert abs(fine.gap) < 1e-3
    assert rough.gap == pytest.approx(float(rough.tokens.sum()) - fine.difference, abs=1e-9)


@pytest.mark.parametrize("by", ["mean embedding", 11])
def test_occlusion_is_the_fall_when_one_vector_is_replaced(
    by: str | int, model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.double()
    e, table = vectors_of(model), model.token_embedding.weight
    new = table[by] if isinstance(by, int) else table.mean(0)
    expected = []
    for t in range(PLACE + 1):
        replaced = e.clone()
        replaced[t] = new
        expected.append(float(value(model, e) - value(model, replaced)))
    found = occlusion(model, IDS, place=PLACE, target=TARGET, by=by)
    assert found[: PLACE + 1].tolist() == pytest.approx(expected, abs=1e-9)
    assert found[PLACE + 1 :].tolist() == [0.0] * 3
    monkeypatch.setattr(attribution, "NUMBERS_AT_ONCE", 1)  # one row at a time
    torch.testing.assert_close(occlusion(model, IDS, place=PLACE, target=TARGET, by=by), found)


def test_an_id_as_replacement_is_a_text_with_that_id() -> None:
    model = model_of("grouped").double()
    found = occlusion(model, IDS, target=TARGET, by=11)
    log_p_of = lambda ids: float(model(torch.tensor([ids]))[0, -1].log_softmax(-1)[TARGET])  # noqa: E731
    for t in range(len(IDS)):
        assert float(found[t]) == pytest.approx(
            log_p_of(IDS) - log_p_of([*IDS[:t], 11, *IDS[t + 1 :]]), abs=1e-9
        )


def copier() -> GPT:
    """Return a model that repeats the token two places back, and does nothing else.

    The first 8 of its 32 numbers say which token it is, the last 16 at which place it stands. The query of a place asks
    for the place two before it; the value is the token, written into the 8 numbers that the head reads. The epsilon of
    the norms is so large that they only subtract the mean, and their weight undoes its scale.
    """
    model = model_of(
        "gpt2", vocab_size=8, n_layer=1, n_head=1, n_embd=32, tied_head=False, norm_epsilon=1e4
    ).requires_grad_(False)  # fmt: skip
    for weight in model.parameters():
        weight.zero_()
    block = model.blocks[0]
    qkv, output = block.get_submodule("attention.qkv"), block.get_submodule("attention.output")
    assert isinstance(qkv, nn.Linear)
    assert isinstance(output, nn.Linear)
    assert isinstance(model.head, nn.Linear)
    for norm in (block.get_submodule("attention_norm"), model.final_norm):
        norm.weight.fill_(100.0)  # pyright: ignore
    for id in range(8):
        model.token_embedding.weight[id, id] = 1.0
        model.head.weight[id, 8 + id] = 1.0
        qkv.weight[64 + id, id] = 1.0
        output.weight[8 + id, id] = 3.0
    for place in range(16):
        model.position_embedding.weight[place, 16 + place] = 1.0
        qkv.weight[16 + max(0, place - 2), 16 + place] = 20.0
        qkv.weight[32 + 16 + place, 16 + place] = 20.0
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_attribution_falls_on_the_token_that_is_copied(dtype: torch.dtype) -> None:
    model, ids, place = copier().to(dtype), [1, 2, 3, 4, 5, 6, 7, 0, 1], 6
    assert int(model(torch.tensor([ids]))[0, place].argmax()) == ids[place - 2] == 5
    results = {
        "gradients": gradients(model, ids, place=place, target=5),
        "integrated": integrated(model, ids, place=place, target=5).tokens,
        "by mean": occlusion(model, ids, place=place, target=5),
        "by an id": occlusion(model, ids, place=place, target=5, by=2),
    }
    for name, found in results.items():
        assert int(found.abs().argmax()) == 4, name
        assert float(found[4]) > 0, name
        others = found.abs()[[0, 1, 2, 3, 5, 7, 8]]
        assert float(others.max()) < 1e-4 * float(found[4]), name
        assert abs(float(found[6])) < 0.1 * float(found[4]), name  # its own token, through the final norm


def test_the_likeliest_id_is_the_target_if_none_is_given(model: GPT) -> None:
    likeliest = int(model(torch.tensor([IDS]))[0, PLACE].argmax())
    for how in (gradients, occlusion, lambda *a, **k: integrated(*a, **k, steps=24).tokens):
        assert torch.equal(how(model, IDS, place=PLACE), how(model, IDS, place=PLACE, target=likeliest))
        assert torch.equal(how(model, IDS, place=PLACE - len(IDS)), how(model, IDS, place=PLACE))


@pytest.mark.parametrize("outer", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(outer: type) -> None:
    model = model_of("sliding")
    plain = gradients(model, IDS), integrated(model, IDS, baseline=2).tokens, occlusion(model, IDS)
    with outer():
        baseline = model.token_embedding.weight[2].clone()
        inside = (
            gradients(model, IDS),
            integrated(model, IDS, baseline=baseline).tokens,
            occlusion(model, IDS),
        )
    for found, expected in zip(inside, plain, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_model_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("gpt2", dropout=0.5).train()
    model.blocks[1].requires_grad_(True)
    model.position_embedding.weight.grad = torch.ones_like(model.position_embedding.weight)
    flags = [weight.requires_grad for weight in model.parameters()]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}

    def check() -> None:
        assert model.training
        assert [weight.requires_grad for weight in model.parameters()] == flags
        assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
        graded = [name for name, weight in model.named_parameters() if weight.grad is not None]
        assert graded == ["position_embedding.weight"]
        assert not model.token_embedding._forward_hooks

    assert torch.equal(gradients(model, IDS), gradients(model, IDS))  # no dropout
    integrated(model, IDS, baseline=1)
    occlusion(model, IDS)
    check()

    def broken(*_: object) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(attribution, "log_probabilities", broken)
    model.logits = broken  # type: ignore[method-assign]
    for how in (gradients, integrated, occlusion):
        with pytest.raises(KeyboardInterrupt):
            how(model, IDS, target=1)
    check()


def test_no_graph_is_kept_for_the_weights() -> None:
    model = model_of("usual").requires_grad_(True)
    with differentiable(model):
        assert not model(torch.tensor([IDS])).requires_grad
    assert all(weight.requires_grad for weight in model.parameters())


def test_weights_without_gradients_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.inference_mode():
        made = model_of("usual")
    with pytest.raises(InspectionError, match="made in inference mode"):
        gradients(made, IDS)
    rounded = quantize(model_of("usual"))
    monkeypatch.setattr(Int8Linear, "is_packed", True)
    with pytest.raises(InspectionError, match="packed in 8 bits"), differentiable(rounded):
        pass


def test_wrong_input_is_named() -> None:
    model = model_of("usual")
    for how in (gradients, integrated, occlusion):
        with pytest.raises(InspectionError, match=r"no place 10\. Choose one from 0 to 9"):
            how(model, IDS, place=10)
        with pytest.raises(InspectionError, match="no place -11"):
            how(model, IDS, place=-11)
        with pytest.raises(InspectionError, match="target 23 is outside the vocabulary"):
            how(model, IDS, target=23)
        with pytest.raises(InspectionError, match="17 tokens"):
            how(model, [1] * 17)
        with pytest.raises(InspectionError, match="0 tokens"):
            how(model, [])
    with pytest.raises(InspectionError, match="need 8 steps or more"):
        integrated(model, IDS, steps=7)
    with pytest.raises(InspectionError, match="baseline 23 is outside"):
        integrated(model, IDS, baseline=23)
    with pytest.raises(InspectionError, match=r"baseline has the shape \(15,\)"):
        integrated(model, IDS, baseline=torch.zeros(15))
    with pytest.raises(InspectionError, match="cannot be replaced by 'zero'"):
        occlusion(model, IDS, by="zero")
    with pytest.raises(InspectionError, match="replacement -1 is outside"):
        occlusion(model, IDS, by=-1)
    assert math.isfinite(integrated(model, IDS[:1]).gap)

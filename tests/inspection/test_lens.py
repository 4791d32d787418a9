"""The lens reads each depth as the model reads its last, in small portions, and changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.inspection import lens as lenses
from glassgpt.inspection.lens import logit_lens, through
from glassgpt.model.gpt import GPT
from tests.inspection.conftest import IDS, model_of


def by_hand(model: GPT, *, middle: bool = False) -> list[Tensor]:
    """Return the probabilities (T, V) at each depth, from the model's modules one after the other, in float64."""
    row, places = torch.tensor([IDS]), torch.arange(len(IDS))
    mask = lenses_mask(model)
    streams = [model.embed(row, places)]
    for block in model.blocks:
        x = streams[-1]
        attended = block.get_submodule("attention")(
            block.get_submodule("attention_norm")(x), rotation=model._rotation(places), mask_TS=mask
        )
        streams += [x + attended] if middle else []
        x = x + attended
        streams.append(x + block.get_submodule("mlp")(block.get_submodule("mlp_norm")(x)))
    return [model.logits(model.final_norm(x))[0].double().softmax(-1) for x in streams]


def lenses_mask(model: GPT) -> Tensor:
    """Return which token sees which, written from the words of the config."""
    config, size = model.config, len(IDS)
    seen = torch.zeros(size, size, dtype=torch.bool)
    for query in range(size):
        for key in range(query + 1):
            back = query - key
            near = back < config.local_window
            far = config.attention == "strided" and back % (config.stride or 1) == 0
            seen[query, key] = config.attention == "full" or near or far
    return seen


@pytest.mark.parametrize("middle", [False, True])
def test_every_number_is_that_of_the_modules_by_hand(middle: bool, model: GPT) -> None:
    found, expected = logit_lens(model, IDS, middle=middle), by_hand(model, middle=middle)
    assert len(found.names) == len(expected) == (7 if middle else 4)
    own = expected[-1]
    for depth, p in enumerate(expected):
        top = p.topk(5)
        assert torch.equal(found.likeliest[depth], top.indices)
        torch.testing.assert_close(found.probabilities[depth].double(), top.values, rtol=1e-4, atol=1e-6)
        for t in range(len(IDS)):
            entropy = -sum(float(x) * math.log(float(x)) for x in p[t])
            distance = sum(
                float(a) * math.log(float(a) / float(b)) for a, b in zip(own[t], p[t], strict=True)
            )
            assert float(found.entropy[depth, t]) == pytest.approx(entropy, abs=1e-4)
            assert float(found.divergence[depth, t]) == pytest.approx(distance, abs=1e-4)
        for t, following in enumerate(IDS[1:]):
            assert float(found.following[depth, t]) == pytest.approx(float(p[t, following]), abs=1e-5)
            assert int(found.ranks[depth, t]) == sorted(p[t].tolist(), reverse=True).index(
                float(p[t, following])
            )


def test_the_last_depth_is_the_models_own_prediction_exactly(model: GPT) -> None:
    found, own_TV = logit_lens(model, IDS, most=23), model(torch.tensor([IDS]))[0].log_softmax(-1).exp()
    assert torch.equal(found.probabilities[-1], own_TV.gather(1, found.likeliest[-1]))
    assert (found.probabilities[-1].diff(dim=-1) <= 0).all()
    assert (found.divergence[-1] == 0).all()
    assert (found.divergence[:-1] > 0).all()


def test_a_few_tokens_at_a_time_give_the_same(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = logit_lens(model, IDS)
    largest = 0
    real = lenses.log_probabilities

    def counted(logits: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, logits.numel())
        return real(logits)

    monkeypatch.setattr(lenses, "LOGITS_AT_ONCE", 3 * 23)
    monkeypatch.setattr(lenses, "log_probabilities", counted)
    parts = logit_lens(model, IDS)
    assert largest == 3 * 23
    assert torch.equal(parts.likeliest, whole.likeliest)
    assert torch.equal(parts.ranks, whole.ranks)
    for name in ("probabilities", "following", "entropy", "divergence"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-6)


def test_shapes_and_names() -> None:
    model = model_of("gpt2")
    found = logit_lens(model, IDS, most=50, middle=True)
    assert found.names[:3] == ("embedding", "blocks.0.middle", "blocks.0.output")
    assert found.ids == tuple(IDS)
    assert found.likeliest.shape == found.probabilities.shape == (7, 10, 23)
    assert found.following.shape == found.ranks.shape == (7, 9)
    assert found.entropy.shape == found.divergence.shape == (7, 10)
    alone = logit_lens(model, IDS[:1])
    assert alone.following.shape == alone.ranks.shape == (4, 0)


def test_a_translation_gets_the_name_and_the_stream_of_each_depth() -> None:
    """Every depth is translated into the last one: then each predicts what the model does."""
    model = model_of("usual")
    end = lenses.seen(model, IDS, "blocks.2.output")["blocks.2.output"]
    names = []
    found = through(model, IDS, translate=lambda name, x: names.append(name) or x * 0 + end)
    assert names == ["embedding", "blocks.0.output", "blocks.1.output", "blocks.2.output"]
    assert (found.divergence == 0).all()
    assert (logit_lens(model, IDS).divergence[0] > 0).all()


def test_a_model_in_training_and_in_float64_is_read_as_it_is() -> None:
    model = model_of("gpt2", dropout=0.5).double().train().requires_grad_(True)
    first, second = logit_lens(model, IDS), logit_lens(model, IDS)
    assert torch.equal(first.probabilities, second.probabilities)
    assert first.probabilities.dtype == torch.float64
    assert model.training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


def test_wrong_input_is_named() -> None:
    model = model_of("usual")
    with pytest.raises(InspectionError, match="Ask for 1 or more"):
        logit_lens(model, IDS, most=0)
    with pytest.raises(InspectionError, match="17 tokens"):
        logit_lens(model, [1] * 17)
    with pytest.raises(InspectionError, match="0 tokens"):
        logit_lens(model, [])

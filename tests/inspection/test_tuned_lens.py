"""A tuned lens begins as the logit lens, learns what later blocks do, and belongs to one set of weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glassgpt.errors import InspectionError
from glassgpt.inspection import tuned_lens
from glassgpt.inspection.lens import logit_lens
from glassgpt.inspection.seen import seen
from glassgpt.inspection.tuned_lens import TunedLens, fingerprint, fit, untrained
from glassgpt.model.gpt import GPT
from tests.inspection.conftest import IDS, model_of


def batches(count: int = 8, *, rows: int = 16, length: int = 12) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(0, 23, (rows, length), generator=generator) for _ in range(count)]


HELD_OUT = torch.randint(0, 23, (12, 12), generator=torch.Generator().manual_seed(99)).tolist()


def mean_divergence(model: GPT, lens: TunedLens) -> Tensor:
    """Return the mean divergence of each depth on texts that no lens was fitted to."""
    return torch.stack([lens.read(model, ids).divergence.mean(-1) for ids in HELD_OUT]).mean(0)


def test_untrained_it_is_the_logit_lens_exactly(model: GPT) -> None:
    plain, found = logit_lens(model, IDS), untrained(model).read(model, IDS)
    for field in dataclasses.fields(plain):
        a, b = getattr(plain, field.name), getattr(found, field.name)
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


def test_fitting_lowers_the_divergence_at_every_depth_but_the_last(model: GPT) -> None:
    before = mean_divergence(model, untrained(model))
    after = mean_divergence(model, fit(model, batches(), steps=40, learning_rate=0.02))
    assert (after[:-1] < 0.9 * before[:-1]).all(), (before, after)
    assert after[-1] == 0


def adding_constants() -> tuple[GPT, list[Tensor]]:
    """Return a model whose blocks each add one constant vector, and these vectors.

    Its final norm has so large an epsilon that it is the identity, and its head reads all numbers equally. So only the
    translation x + c has no divergence.
    """
    model = model_of(
        "usual", attention_bias=True, norm_epsilon=1e4, positions="learned", tied_head=False
    )  # fmt: skip
    model.final_norm.weight.fill_(100.0)  # pyright: ignore
    model.head.weight.copy_(torch.eye(23, 16))  # pyright: ignore
    model.token_embedding.weight.mul_(3)
    model.position_embedding.weight.mul_(3)
    added = []
    for block in model.blocks:
        output, down = block.get_submodule("attention.output"), block.get_submodule("mlp.down")
        assert isinstance(output, nn.Linear)
        output.weight.zero_()
        down.weight.zero_()  # pyright: ignore
        added.append(output.bias.clone())
    return model, added


def test_it_finds_what_later_blocks_add() -> None:
    """At each depth b is the sum of what the blocks after it add, and A is 0."""
    model, added = adding_constants()
    lens = fit(model, batches(4, rows=8), steps=250, learning_rate=0.1)
    before, after = mean_divergence(model, untrained(model)), mean_divergence(model, lens)
    for depth in range(3):
        later = torch.stack(added[depth:]).sum(0)
        assert later.abs().max() > 0.4
        torch.testing.assert_close(lens.biases_LC[depth], later, rtol=0, atol=0.06)
        torch.testing.assert_close(lens.matrices_LCC[depth], torch.zeros(16, 16), rtol=0, atol=0.03)
    assert (after[:3] < 1e-3 * before[:3]).all()


def test_the_gradient_is_that_of_the_mean_divergence(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of plain descent, against autograd through the whole formula at once; also a few tokens at a time."""
    model.double()
    (ids_BT,) = batches(1, rows=2, length=7)
    monkeypatch.setattr(tuned_lens, "LOGITS_AT_ONCE", 3 * 23)
    rows = [seen(model, row.tolist(), "embedding", "blocks.*.output") for row in ids_BT]
    names = ("embedding", "blocks.0.output", "blocks.1.output", "blocks.2.output")
    streams = [torch.cat([row[name] for row in rows]) for name in names]
    torch.manual_seed(3)
    matrices, biases = torch.randn(3, 16, 16) * 0.1, torch.randn(3, 16) * 0.1
    found = tuned_lens._slopes(model, streams, matrices, biases)
    a, b = matrices.clone().requires_grad_(True), biases.clone().requires_grad_(True)
    own = torch.cat([row["logits"] for row in rows]).softmax(-1).clone()
    total = torch.zeros(())
    for depth in range(3):
        x = streams[depth].clone().float()
        y = (x @ (torch.eye(16) + a[depth]).T + b[depth]).double()
        lens = model.logits(model.final_norm(y)).softmax(-1)
        mean = (own * (own / lens).log()).sum(-1).mean()
        assert found[depth].item() == pytest.approx(mean.item(), rel=1e-4)
        total = total + mean
    total.backward()
    assert matrices.grad is not None
    torch.testing.assert_close(matrices.grad, a.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(biases.grad, b.grad, rtol=1e-3, atol=1e-5)


def test_the_model_is_as_it_was() -> None:
    model = model_of("gpt2", dropout=0.5).train().requires_grad_(True)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.inference_mode():
        inside = fit(model, batches(2), steps=3)
    lens = fit(model, batches(2), steps=3)
    assert torch.equal(inside.matrices_LCC, lens.matrices_LCC)  # no dropout
    assert not lens.matrices_LCC.requires_grad
    with pytest.raises(InspectionError):
        fit(model, [], steps=1)
    assert model.training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_the_report_of_each_step_falls() -> None:
    model, reported = model_of("usual"), []
    fit(
        model,
        batches(1),
        steps=20,
        learning_rate=0.01,
        report=lambda step, found: reported.append((step, found)),
    )
    assert [step for step, _ in reported] == list(range(1, 21))
    ids = batches(1)[0]
    by_lens = torch.stack([logit_lens(model, row.tolist()).divergence.mean(-1) for row in ids]).mean(0)
    torch.testing.assert_close(reported[0][1], by_lens[:-1], rtol=1e-4, atol=1e-5)
    assert (reported[-1][1] < reported[0][1]).all()


def test_batches_begin_again_and_a_generator_that_ends_is_named() -> None:
    model = model_of("usual")
    two = batches(2)
    assert torch.equal(
        fit(model, two, steps=5).matrices_LCC,
        fit(model, [two[0], two[1], two[0], two[1], two[0]], steps=5).matrices_LCC,
    )
    with pytest.raises(InspectionError, match="ended after 2 of 5 steps"):
        fit(model, (batch for batch in two), steps=5)
    drawn = iter(two)
    fit(model, drawn, steps=1)
    assert next(drawn, None) is not None  # no batch is drawn that is not used


def test_a_saved_lens_is_read_back_whole(tmp_path: Path) -> None:
    model = model_of("usual")
    lens = fit(model, batches(1), steps=2)
    path = tmp_path / "deeper" / "lens.safetensors"
    lens.save(path)
    found = TunedLens.load(path, model)
    assert torch.equal(found.matrices_LCC, lens.matrices_LCC)
    assert torch.equal(found.biases_LC, lens.biases_LC)
    assert found.weights == lens.weights == fingerprint(model)
    untrained(model).save(path)  # in its place
    assert not TunedLens.load(path, model).matrices_LCC.any()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_lens_of_other_weights_is_refused(tmp_path: Path) -> None:
    model, path = model_of("usual"), tmp_path / "lens.safetensors"
    untrained(model).save(path)
    model.blocks[2].get_submodule("mlp.down").weight[3, 3] += 1e-6  # pyright: ignore
    with pytest.raises(InspectionError, match="fitted to other weights"):
        TunedLens.load(path, model)
    other = model_of("usual", n_layer=2)
    with pytest.raises(InspectionError, match="the model has 2 layers of width 16"):
        TunedLens.load(path, other)
    with pytest.raises(InspectionError, match="the model has 2 layers of width 16"):
        untrained(model).read(other, IDS)


def test_the_fingerprint_is_that_of_names_types_shapes_and_numbers() -> None:
    same, model = model_of("usual"), model_of("usual")
    assert fingerprint(model) == fingerprint(same)
    assert len(fingerprint(model)) == 64
    assert fingerprint(same.bfloat16()) != fingerprint(model)
    assert fingerprint(model_of("gpt2")) != fingerprint(model)


@pytest.mark.parametrize("damage", ["gone", "cut", "no lens", "no biases", "no json", "other format"])
def test_a_damaged_file_is_refused_with_the_way_out(damage: str, tmp_path: Path) -> None:
    model, path = model_of("usual"), tmp_path / "lens.safetensors"
    untrained(model).save(path)
    tensors, facts = load_file(path), {"format": 1, "weights": fingerprint(model)}
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:900])
    elif damage == "no lens":
        save_file(tensors, path)
    elif damage == "no biases":
        save_file({"matrices": tensors["matrices"]}, path, {"tuned_lens": json.dumps(facts)})
    elif damage == "no json":
        save_file(tensors, path, {"tuned_lens": "{"})
    else:
        save_file(tensors, path, {"tuned_lens": json.dumps(facts | {"format": 9})})
    with pytest.raises(InspectionError, match="Fit it again"):
        TunedLens.load(path, model)


def test_wrong_input_is_named() -> None:
    model = model_of("usual")
    with pytest.raises(InspectionError, match="in 0 steps"):
        fit(model, batches(1), steps=0)
    with pytest.raises(InspectionError, match=r"shape \(2, 17\)"):
        fit(model, [torch.ones(2, 17, dtype=torch.int64)], steps=1)
    with pytest.raises(InspectionError, match=r"shape \(5,\)"):
        fit(model, [torch.ones(5, dtype=torch.int64)], steps=1)
    with pytest.raises(InspectionError, match="lower learning_rate"):
        fit(model, batches(1), steps=9, learning_rate=1e37)
    with pytest.raises(InspectionError, match="learning_rate = 0"):
        fit(model, batches(1), learning_rate=0)

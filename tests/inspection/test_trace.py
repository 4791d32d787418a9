"""A trace is what the model computed, bit for bit, and adds up; it survives being saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from glassgpt.errors import ConfigError, InspectionError
from glassgpt.inspection.seen import losses, seen
from glassgpt.inspection.trace import Trace, pieces, read_trace, trace, trace_ids
from glassgpt.model.attention import using
from glassgpt.model.gpt import GPT
from glassgpt.model.points import looking, point_names
from glassgpt.runs.opening import Run
from tests.inspection.conftest import IDS, model_of


def test_the_traced_pass_is_the_untraced_one_bit_for_bit(model: GPT) -> None:
    plain = model(torch.tensor([IDS]))[0]
    assert torch.equal(trace_ids(model, IDS).arrays["logits"], plain)
    assert torch.equal(model(torch.tensor([IDS]))[0], plain)


def test_every_point_is_that_of_the_explicit_pass(model: GPT) -> None:
    """The weights of a trace follow from its queries and keys; here they are those that attention itself used."""
    found, traced = {}, trace_ids(model, IDS)
    with (
        using(model, "explicit"),
        looking(model, "*", see=lambda name, value: found.__setitem__(name, value[0])),
    ):
        model(torch.tensor([IDS]))
    assert sorted(found) == sorted(point_names(3))
    for name, value in found.items():
        torch.testing.assert_close(traced.at(name), value, rtol=2e-5, atol=2e-5)


def test_what_follows_from_a_trace_is_what_its_formula_says(model: GPT) -> None:
    traced = trace_ids(model, IDS)
    logits_TV = model(torch.tensor([IDS]))[0]
    by_hand = [-float(logits_TV[t].double().softmax(-1)[IDS[t + 1]].log()) for t in range(len(IDS) - 1)]
    torch.testing.assert_close(traced.losses, torch.tensor(by_hand), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses(model, IDS), traced.losses)
    torch.testing.assert_close(traced.probabilities.sum(-1), torch.ones(len(IDS)))
    for layer in range(3):
        masked = traced.scores(layer).masked_fill(~traced.mask, -torch.inf)
        torch.testing.assert_close(traced.weights(layer), masked.softmax(-1))
        assert (traced.weights(layer)[:, ~traced.mask] == 0).all()


def test_a_trace_is_small_where_texts_are_long() -> None:
    """Nothing in it grows with the square of the text."""
    model = model_of("usual", context_length=512)
    sizes = []
    for length in (128, 256, 512):
        arrays = trace_ids(model, [1] * length).arrays.values()
        sizes.append(sum(array.untyped_storage().nbytes() for array in arrays))
    assert sizes[1] == 2 * sizes[0]
    assert sizes[2] == 2 * sizes[1]


def test_a_saved_trace_is_read_back_whole(run: Run, tmp_path: Path) -> None:
    made = trace(run, "Once upon a time")
    made.save(tmp_path / "trace")
    found = read_trace(tmp_path / "trace")
    assert (found.text, found.ids, found.pieces, found.before) == (
        made.text,
        made.ids,
        made.pieces,
        made.before,
    )
    assert found.config == made.config
    assert found.arrays.keys() == made.arrays.keys()
    assert all(torch.equal(found.arrays[name], array) for name, array in made.arrays.items())
    trace(run, "Once").save(tmp_path / "trace")  # in its place
    assert read_trace(tmp_path / "trace").text == "Once"


def test_a_trace_reads_the_text_as_a_prompt_is_read(run: Run) -> None:
    made = trace(run, "Once upon a time")
    assert list(made.ids) == run.prompt_ids("Once upon a time")
    assert made.before == 1
    assert "".join(made.pieces[1:]) == "Once upon a time"
    assert made.pieces[0] == "<|endoftext|>"


def test_pieces_of_characters_are_visible(run: Run) -> None:
    """A character that was cut into bytes is not shown as a question mark."""
    shown = pieces(run.tokenizer, run.tokenizer.encode("é€"))
    assert "�" not in "".join(shown)
    assert "\\xc3" in shown


@pytest.mark.parametrize("damage", ["gone", "cut", "no json", "other format", "missing key", "altered"])
def test_a_damaged_trace_is_refused_with_the_way_out(damage: str, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "trace"
    trace(run, "Once").save(folder)
    facts = folder / "trace.json"
    if damage == "gone":
        folder = tmp_path / "other"
    elif damage == "cut":
        (folder / "arrays.safetensors").write_bytes((folder / "arrays.safetensors").read_bytes()[:200])
    else:
        old = facts.read_text(encoding="utf-8")
        new = {
            "no json": "{", "other format": old.replace('"format": 1', '"format": 9'),
            "missing key": old.replace('"before"', '"behind"'), "altered": old.replace("Once", "Twice"),
        }[damage]  # fmt: skip
        facts.write_text(new, encoding="utf-8")
    with pytest.raises(InspectionError, match="Make it again"):
        read_trace(folder)


def test_wrong_texts_and_names_are_named() -> None:
    model = model_of("usual")
    with pytest.raises(InspectionError, match="17 tokens, and the model's context holds 16"):
        trace_ids(model, [1] * 17)
    with pytest.raises(InspectionError, match="0 tokens"):
        trace_ids(model, [])
    for id in (23, -1):
        with pytest.raises(
            InspectionError, match=f"The id {id} is outside the vocabulary, which has the ids 0 to 22"
        ):
            trace_ids(model, [1, id])
    with pytest.raises(InspectionError, match="1 token, and this needs 2"):
        losses(model, [1])
    with pytest.raises(ConfigError, match=r"no point 'blocks\.0\.mpl'"):
        seen(model, IDS, "blocks.0.mpl")
    traced: Trace = trace_ids(model, IDS)
    for name in ("blocks.7.mlp", "blocks.0.mpl", "", "blocks..mlp"):
        with pytest.raises(InspectionError, match="has no point"):
            traced.at(name)
    assert torch.equal(traced.at("logits"), traced.arrays["logits"])
    assert F.mse_loss(traced.at("blocks.1.input"), traced.at("blocks.0.output")) == 0


def test_a_model_in_training_is_traced_without_dropout_and_goes_on_training() -> None:
    model = model_of("gpt2", dropout=0.5).train()
    first, second = (trace_ids(model, IDS).arrays["logits"] for _ in range(2))
    assert torch.equal(first, second)
    assert model.training

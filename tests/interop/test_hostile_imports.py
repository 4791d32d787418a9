"""Files from elsewhere may contain anything: an import soon ends with a run or with an error that says why.

The sizes that a file states are compared with the real ones before memory is taken, so those tests run in a process
with little memory.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from glassgpt.errors import GlassGPTError, InteropError
from glassgpt.interop.imports import import_model
from glassgpt.interop.notebooks import import_notebook
from glassgpt.runs.opening import open_run
from glassgpt.tokenizers.fast import FastTokenizer

KINDS = ("gpt2", "llama", "mistral", "qwen3-sliding")
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2, 3, 7, 10**8, 2**31, 2**63, 10**30, 0.0, 1.5, -0.5, 1e400, float("nan")]),
    st.integers(-3, 100),
)
ODD = st.one_of(
    NUMBERS,
    st.sampled_from([None, True, False, "", "2", "silu", "sliding_attention", [], [1], {}, {"a": {}}]),
    st.dictionaries(st.sampled_from(["rope_type", "factor", "type"]), st.one_of(NUMBERS, st.just("llama3"))),
)
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    *(
        "model_type",
        "vocab_size",
        "n_layer",
        "n_head",
        "n_embd",
        "n_positions",
        "n_inner",
        "activation_function",
    ),
    *(
        "layer_norm_epsilon",
        "tie_word_embeddings",
        "resid_pdrop",
        "hidden_size",
        "intermediate_size",
        "head_dim",
    ),
    *(
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "rms_norm_eps",
    ),
    *("rope_parameters", "rope_scaling", "rope_theta", "sliding_window", "layer_types", "max_window_layers"),
    *(
        "use_sliding_window",
        "attention_bias",
        "mlp_bias",
        "hidden_act",
        "eos_token_id",
        "quantization_config",
    ),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, tokenizer: FastTokenizer) -> Path:
    """A folder with a folder of each kind."""
    import references

    place = tmp_path_factory.mktemp("sources")
    for kind in KINDS:
        references.make(kind, vocab_size=tokenizer.vocab_size + 7).save_pretrained(place / kind)
        tokenizer.save(place / kind / "tokenizer.json")
    return place


@pytest.fixture
def folder(sources: Path) -> Path:
    """A copy of a Llama that a test may damage."""
    return Path(shutil.copytree(sources / "llama", "hf"))


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def ends_well(source: Path, **options: Any) -> None:
    """Import it; a `GlassGPTError` is fine if it leaves no run behind."""
    run = Path("runs/fuzzed")
    make: Callable[..., Any] = import_notebook if source.suffix == ".pth" else import_model
    try:
        make(str(source), name="fuzzed", **options)
    except GlassGPTError:
        left = run.exists()
        assert not left
    else:
        assert (run / "config.toml").is_file()
        open_run("fuzzed").model(torch.tensor([[1, 2]]))
        shutil.rmtree(run)


@settings(max_examples=100)
@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(NAMES), ODD, min_size=1, max_size=2))
def test_any_setting_may_be_anything(sources: Path, kind: str, changes: dict[str, Any]) -> None:
    copy = Path(shutil.copytree(sources / kind, "copy", dirs_exist_ok=True))
    change(copy / "config.json", **changes)
    ends_well(copy)


@settings(max_examples=100)
@given(
    st.sampled_from(
        ["config.json", "model.safetensors.index.json", "generation_config.json", "tokenizer_config.json"]
    ),
    ANY_JSON.map(lambda content: json.dumps(content).encode()) | st.binary(max_size=60),
    st.booleans(),
)
def test_any_json_file_may_hold_anything(sources: Path, name: str, content: bytes, sharded: bool) -> None:
    copy = Path(shutil.copytree(sources / "llama", "copy", dirs_exist_ok=True))
    (copy / "chat_template.jinja").unlink(missing_ok=True)
    if sharded:
        (copy / "model.safetensors").rename(copy / "a.safetensors")
        (copy / "model.safetensors.index.json").write_text('{"weight_map": {"a": "a.safetensors"}}')
    (copy / name).write_bytes(content)
    ends_well(copy)
    shutil.rmtree(copy)


@settings(max_examples=60)
@given(st.data())
def test_a_header_may_lie_about_its_tensors(sources: Path, data: st.DataObject) -> None:
    copy = Path(shutil.copytree(sources / "llama", "copy", dirs_exist_ok=True))
    whole = (sources / "llama/model.safetensors").read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header, body = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    name = data.draw(st.sampled_from(sorted(header.keys() - {"__metadata__"})))
    lie = data.draw(
        st.one_of(
            st.fixed_dictionaries(
                {"dtype": st.sampled_from(["F16", "I32", "C64", "F8_E4M3", "F64", "X", 3])}
            ),
            st.fixed_dictionaries({"shape": st.lists(NUMBERS, max_size=3)}),
            st.fixed_dictionaries({"data_offsets": st.lists(NUMBERS, max_size=3)}),
        )
    )
    header[name] = {**header[name], **lie}
    if data.draw(st.booleans()):
        header[data.draw(st.sampled_from(["more", "module." + name, ""]))] = header[name]
    text = json.dumps(header).encode()
    length = data.draw(st.sampled_from([len(text), 0, 2**63, len(text) + 1]))
    (copy / "model.safetensors").write_bytes(length.to_bytes(8, "little") + text + body)
    ends_well(copy)


SHAPES = st.lists(st.sampled_from([0, 1, 2, 4, 8, 32, 300]), max_size=3)
DTYPES = st.sampled_from(
    [
        torch.float32,
        torch.float16,
        torch.float64,
        torch.int8,
        torch.bool,
        torch.complex64,
        torch.float8_e4m3fn,
    ]
)
BY_HAND = {
    "tok_emb.weight": (300, 8), "pos_emb.weight": (4, 8), "final_norm.scale": (8,), "final_norm.shift": (8,),
    "out_head.weight": (300, 8), "trf_blocks.0.att.W_query.weight": (8, 8), "trf_blocks.0.att.W_key.weight": (8, 8),
    "trf_blocks.0.att.W_value.weight": (8, 8), "trf_blocks.0.att.out_proj.weight": (8, 8),
    "trf_blocks.0.ff.layers.0.weight": (32, 8), "trf_blocks.0.ff.layers.2.weight": (8, 32),
    "trf_blocks.0.norm1.scale": (8,), "trf_blocks.0.norm1.shift": (8,), "trf_blocks.0.norm2.scale": (8,),
    "trf_blocks.0.norm2.shift": (8,),
}  # fmt: skip
OTHER_NAMES = [
    "trf_blocks.99999999.att.W_key.weight", "trf_blocks.1.norm1.scale", "trf_blocks.00.att.W_key.weight",
    "module.tok_emb.weight", "transformer.wte.weight", "", ".", "x", 3,
]  # fmt: skip


def state_dict() -> dict[Any, torch.Tensor]:
    return {name: torch.randn(shape) for name, shape in BY_HAND.items()}


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from([*BY_HAND, *OTHER_NAMES]), st.tuples(SHAPES, DTYPES), min_size=1, max_size=2
    ),
    st.sampled_from([None, "model", "state_dict"]),
    st.sampled_from([{}, [], 3, None, {"n_head": 2}, {"n_head": "2"}, {"n_head": 0}, torch.ones(2)]),
)
def test_a_state_dict_may_hold_any_tensors(
    tokenizer: FastTokenizer, changes: dict[Any, Any], inside: str | None, told: Any
) -> None:
    tokenizer.save(Path("vocabulary.json"))
    weights = state_dict() | {name: torch.zeros(shape).to(dtype) for name, (shape, dtype) in changes.items()}
    torch.save({inside: weights, "model_args": told} if inside else weights, "m.pth")
    ends_well(Path("m.pth"), tokenizer="vocabulary.json", heads=2)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8), st.booleans())
def test_any_bytes_of_a_state_dict_may_be_others(
    tokenizer: FastTokenizer, flips: list[tuple[int, int]], new_format: bool
) -> None:
    tokenizer.save(Path("vocabulary.json"))
    torch.save(state_dict(), "m.pth", _use_new_zipfile_serialization=new_format)
    content = bytearray(Path("m.pth").read_bytes())
    for place, value in flips:
        content[place % len(content)] = value
    Path("m.pth").write_bytes(content)
    ends_well(Path("m.pth"), tokenizer="vocabulary.json", heads=2)


LIMITED = """
import resource, sys
import torch
from glassgpt.errors import GlassGPTError
from glassgpt.interop.imports import import_model
from glassgpt.interop.notebooks import import_notebook

torch.set_num_threads(1)
here = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (here + (1 << 30), here + (1 << 30)))
for source in sys.argv[1:]:
    make = import_notebook if source.endswith(".pth") else import_model
    try:
        make(source, tokenizer="hf/tokenizer.json", **({"heads": 2} if source.endswith(".pth") else {}))
    except GlassGPTError as error:
        print(source, type(error).__name__)
"""


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="needs /proc to see how much memory is taken"
)
def test_promises_take_no_memory(folder: Path) -> None:
    """A config of 10^8 layers hung; a .pth of two kilobytes could ask for any amount of memory."""
    promises = {
        "layers": {"num_hidden_layers": 10**8},
        "widths": {"hidden_size": 2**30, "intermediate_size": 2**30},
        "words": {"vocab_size": 2**31 - 1},
    }
    for name, changes in promises.items():
        change(Path(shutil.copytree(folder, name)) / "config.json", **changes)
    torch.save(state_dict() | {"tok_emb.weight": torch.zeros(1).expand(10**9, 8)}, "expanded.pth")
    torch.save(state_dict() | {"trf_blocks.99999999.norm1.scale": torch.zeros(8)}, "deep.pth")
    torch.save(state_dict(), "packed.pth")
    with (
        zipfile.ZipFile("packed.pth") as whole,
        zipfile.ZipFile("bomb.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
    ):
        for entry in whole.infolist():  # half as much again as the process below may take
            size = 3 << 29 if entry.filename.endswith("data.pkl") else 0
            with bomb.open(entry.filename, "w", force_zip64=True) as out:
                out.write(whole.read(entry))
                for _ in range(size >> 24):
                    out.write(bytes(1 << 24))
    assert Path("bomb.pth").stat().st_size < 1 << 23
    names = [*promises, "expanded.pth", "deep.pth", "bomb.pth"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *names], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert [line.split()[0] for line in done.stdout.splitlines()] == names, done.stderr[-2000:]


def index_of(path: str) -> Callable[[], None]:
    def spoil() -> None:
        shutil.copy("hf/model.safetensors", "outside.safetensors")
        Path("hf/model.safetensors").unlink()
        Path("hf/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": path}}))

    return spoil


def weights(**changes: torch.Tensor | None) -> Callable[[], None]:
    """Change the tensors whose names have a given end."""

    def spoil() -> None:
        held = load_file("hf/model.safetensors")
        for name, tensor in changes.items():
            held[f"model.layers.0.mlp.{name}.weight"] = tensor if tensor is not None else held.popitem()[1]
        save_file(held, "hf/model.safetensors")

    return spoil


def two_files_with_the_same() -> None:
    Path("hf/model.safetensors").rename("hf/a.safetensors")
    shutil.copy("hf/a.safetensors", "hf/b.safetensors")
    content = {"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    Path("hf/model.safetensors.index.json").write_text(json.dumps(content))


def pointer() -> None:
    Path("hf/model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    )


def deep_json() -> None:
    Path("hf/config.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (index_of("../outside.safetensors"), "not a safetensors file of this folder"),
        (index_of("/etc/passwd"), "not a safetensors file of this folder"),
        (two_files_with_the_same, "both have"),
        (pointer, "git lfs pull"),
        (deep_json, "not valid JSON"),
        (weights(up_proj=torch.full((48, 32), float("nan"))), "not finite"),
        (weights(up_proj=torch.full((48, 32), 1e300, dtype=torch.float64)), "too large for float32"),
        (weights(up_proj=torch.ones((48, 32), dtype=torch.int8)), "as I8"),
        (weights(up_proj=torch.ones((48, 32), dtype=torch.float8_e4m3fn)), "as F8_E4M3"),
        (weights(more=torch.ones(2)), "layers.0.mlp.more.weight"),
        (lambda: change(Path("hf/config.json"), layer_types=["linear_attention"] * 2), "linear_attention"),
        (lambda: change(Path("hf/config.json"), num_hidden_layers=1), "layers.1"),
        (lambda: change(Path("hf/config.json"), num_attention_heads=0), "num_attention_heads"),
        (lambda: change(Path("hf/config.json"), hidden_size="32"), "hidden_size"),
        (
            lambda: change(Path("hf/config.json"), rope_parameters={"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (lambda: change(Path("hf/config.json"), rope_parameters={"full_attention": {"factor": 2}}), "different kinds"),
    ],
)  # fmt: skip
def test_the_fault_of_a_folder_is_named(folder: Path, spoil: Callable[[], None], named: str) -> None:
    spoil()
    with pytest.raises(GlassGPTError, match=named):
        import_model("hf", name="broken")
    assert not Path("runs/broken").exists()


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "model.", "_fsdp_wrapped_module.", "base_model.model."]
)
def test_names_of_a_wrapped_model_in_a_folder(folder: Path, prefix: str, tokenizer: FastTokenizer) -> None:
    """A model saved after torch.compile did not fit its own config.json."""
    held = load_file("hf/model.safetensors")
    save_file({prefix + name: tensor for name, tensor in held.items()}, "hf/model.safetensors")
    import_model("hf", name="wrapped")
    embedding = open_run("wrapped").model.token_embedding.weight
    assert torch.equal(embedding, held["model.embed_tokens.weight"])


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "model.", "module.model."])
def test_names_of_a_wrapped_model_in_a_state_dict(prefix: str, tokenizer: FastTokenizer) -> None:
    tokenizer.save(Path("vocabulary.json"))
    held = state_dict()
    torch.save({prefix + name: tensor for name, tensor in held.items()}, "m.pth")
    import_notebook("m.pth", name="wrapped", tokenizer="vocabulary.json", heads=2)
    assert torch.equal(open_run("wrapped").model.token_embedding.weight, held["tok_emb.weight"])


def test_names_that_cannot_be_places() -> None:
    for name in ("x" * 5000, "a\0b", "no such folder!"):
        with pytest.raises(InteropError, match="no folder"):
            import_model(name)
    Path("file").write_text("here")
    with pytest.raises(InteropError, match="is a file"):
        import_model("file")


def test_sparse_weights_are_refused(tokenizer: FastTokenizer) -> None:
    tokenizer.save(Path("vocabulary.json"))
    torch.save(state_dict() | {"out_head.weight": torch.zeros(300, 8).to_sparse()}, "m.pth")
    with pytest.raises(InteropError, match="plain numbers"):
        import_notebook("m.pth", tokenizer="vocabulary.json", heads=2)


def test_characters_in_another_encoding_are_named() -> None:
    torch.save(state_dict(), "m.pth")
    Path("input.txt").write_bytes("naïve".encode("cp1252"))
    with pytest.raises(GlassGPTError, match="UTF-8"):
        import_notebook("m.pth", heads=2, characters=Path("input.txt"))


def test_another_tokenizer_than_the_sources_own_is_refused(folder: Path, make_tokenizer: Any) -> None:
    """A wrong --tokenizer was once accepted silently, and the run wrote nonsense."""
    make_tokenizer(vocab_size=270).save(Path("other.json"))
    with pytest.raises(InteropError, match="trained with"):
        import_model("hf", name="mine", tokenizer="other.json")
    import_model("hf", name="mine", tokenizer="hf")  # its own
    Path("hf/tokenizer.json").write_text("{}")  # a broken one is a reason to give another
    import_model("hf", name="other", tokenizer="other.json")


def test_what_makes_a_tokenizer_doubtful_is_noted(folder: Path, make_tokenizer: Any) -> None:
    make_tokenizer(vocab_size=260).save(Path("other.json"))
    Path("hf/tokenizer.json").unlink()
    change(Path("hf/config.json"), bos_token_id=40, eos_token_id=[299])
    notes = open_run(import_model("hf", tokenizer="other.json").name).lineage.source.notes
    assert ["only 260" in notes[0], "bos_token_id = 40" in notes[1], "eos_token_id = 299" in notes[2]] == [
        True
    ] * 3

"""Options by short names and by those of other programs: each works, or is answered with a name that is there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from glassgpt.cli.elsewhere import COMMANDS, GUESSES
from glassgpt.cli.guesses import Options, understood
from glassgpt.cli.main import EARLIER, make_app
from glassgpt.errors import UsageError
from glassgpt.runs.directory import find_run

TRAIN, SFT, WRITE, CHAT = "train text.txt", "finetune sft small data.json", "generate small", "chat small"

WORKS = [
    # nanoGPT
    (TRAIN, "--n_layer", "--model.n-layer"),
    (TRAIN, "--n_head", "--model.n-head"),
    (TRAIN, "--n_embd", "--model.n-embd"),
    (TRAIN, "--block_size", "--model.context-length"),
    (TRAIN, "--batch_size", "--training.batch-size"),
    (TRAIN, "--max_iters", "--training.steps"),
    (TRAIN, "--learning_rate", "--training.learning-rate"),
    (TRAIN, "--min_lr", "--training.min-learning-rate"),
    (TRAIN, "--weight_decay", "--training.weight-decay"),
    (TRAIN, "--warmup_iters", "--training.warmup-steps"),
    (TRAIN, "--grad_clip", "--training.clip"),
    (TRAIN, "--eval_interval", "--training.evaluate-every"),
    (TRAIN, "--log_interval", "--training.log-every"),
    (TRAIN, "--gradient_accumulation_steps", "--training.accumulate"),
    (TRAIN, "--beta1", "--training.beta1"),
    (TRAIN, "--dropout", "--model.dropout"),
    (TRAIN, "--dtype", "--training.precision"),
    (TRAIN, "--compile", "--training.compile"),
    (TRAIN, "--no-compile", "--training.no-compile"),
    (TRAIN, "--device", "--training.device"),
    (TRAIN, "--vocab_size", "--tokenizer.vocab-size"),
    (WRITE, "--num_samples", "--count"),
    (WRITE, "--start", "--prompt"),
    (WRITE, "--out_dir", "--run"),
    # transformers
    (TRAIN, "--lr", "--training.learning-rate"),
    (TRAIN, "--max_steps", "--training.steps"),
    (TRAIN, "--num_train_epochs", "--training.epochs"),
    (TRAIN, "--lr_scheduler_type", "--training.schedule"),
    (TRAIN, "--warmup_steps", "--training.warmup-steps"),
    (TRAIN, "--adam_beta2", "--training.beta2"),
    (TRAIN, "--max_grad_norm", "--training.clip"),
    (TRAIN, "--logging_steps", "--training.log-every"),
    (TRAIN, "--save_steps", "--training.checkpoint-every"),
    (TRAIN, "--gradient_checkpointing", "--training.checkpoint-activations"),
    (TRAIN, "--report_to", "--track"),
    (TRAIN, "--hidden_size", "--model.n-embd"),
    (TRAIN, "--num_hidden_layers", "--model.n-layer"),
    (TRAIN, "--num_attention_heads", "--model.n-head"),
    (WRITE, "--max_new_tokens", "--max-tokens"),
    (WRITE, "--repetition_penalty", "--repetition-penalty"),
    (WRITE, "--num_return_sequences", "--count"),
    # llama.cpp
    (TRAIN, "--ctx-size", "--model.context-length"),
    (TRAIN, "-c", "--model.context-length"),
    (TRAIN, "-t", "--training.threads"),
    (WRITE, "--temp", "--temperature"),
    (WRITE, "--repeat-penalty", "--repetition-penalty"),
    (WRITE, "--n-predict", "--max-tokens"),
    (WRITE, "-p", "--prompt"),
    (WRITE, "-m", "--run"),
    (WRITE, "-s", "--seed"),
    (CHAT, "--top_p", "--top-p"),
    # litgpt and mlx-lm
    (SFT, "--iters", "--training.steps"),
    (SFT, "--lora_r", "--lora.rank"),
    (SFT, "--lora_alpha", "--lora.alpha"),
    (SFT, "--learning-rate", "--training.learning-rate"),
    (SFT, "--val_split_fraction", "--validation"),
    (SFT, "--steps-per-eval", "--training.evaluate-every"),
    (SFT, "--num-epochs", "--training.epochs"),
    (CHAT, "--system-prompt", "--system"),
    (CHAT, "--max-new-tokens", "--max-tokens"),
    # our own, by the last part
    (TRAIN, "--kind", "--tokenizer.kind"),
    (TRAIN, "--optimizer", "--training.optimizer"),
    (TRAIN, "--seed", "--training.seed"),
    (SFT, "--seed", "--training.seed"),
    (TRAIN, "--vocab-size", "--tokenizer.vocab-size"),
    ("data inspect text.txt", "--seed", "--split.seed"),
    ("data inspect text.txt", "--validation", "--split.validation"),
    ("tokenizer train text.txt", "--out", "--output"),
]
ANSWERED = [
    (TRAIN, "--eval_iters", "--training.evaluate-tokens"),
    (TRAIN, "--per_device_train_batch_size", "--training.batch-size"),
    (TRAIN, "--micro_batch_size", "--training.batch-size"),
    (TRAIN, "--warmup_ratio", "--training.warmup-steps"),
    (TRAIN, "--lr_decay_iters", "--training.steps"),
    (TRAIN, "--bf16", "--training.precision bfloat16"),
    (TRAIN, "--optim", "--training.optimizer"),
    (TRAIN, "--out_dir", "--name"),
    (TRAIN, "--output_dir", "--name"),
    (TRAIN, "--wandb_log", "--track wandb"),
    (TRAIN, "--bias", "--model.qkv-bias"),
    (TRAIN, "--model", "--preset"),
    (TRAIN, "--init_from", "glassgpt resume"),
    (TRAIN, "--resume_from_checkpoint", "glassgpt resume"),
    (TRAIN, "--train.learning_rate", "--training.learning-rate"),
    (TRAIN, "--learning-rat", "--training.learning-rate"),
    (TRAIN, "--xyzzy", "glassgpt train --help-all"),
    (SFT, "--target_modules", "--lora.targets"),
    (SFT, "--data", "without an option"),
    ("export small", "--device", "nothing to choose"),
    (WRITE, "-n", "--max-tokens"),
    (WRITE, "--max_length", "--max-tokens"),
    (WRITE, "--do_sample", "--greedy"),
    (WRITE, "-ngl", "--device"),
    (WRITE, "--load_in_8bit", "--weights int8"),
]
SEVERAL = "several meanings"
OTHER_MEANINGS = ("--model.vocab-size", "--split.seed", "--samples.seed")
"""Settings whose last part means what most people mean by it: the vocabulary of the tokenizer, the training's seed."""


def commands(app: App, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that does something."""
    for name in app:
        if not name.startswith("-"):
            if app[name].default_command is not None:
                yield (*above, name)
            yield from commands(app[name], (*above, name))


@pytest.fixture(scope="module")
def app() -> App:
    return make_app()


@pytest.fixture(scope="module")
def every(app: App) -> list[Options]:
    found = []
    for words in commands(app):
        here = app
        for word in words:
            here = here[word]
        found.append(Options(" ".join(["glassgpt", *words]), here.assemble_argument_collection()))
    return found


def answer(app: App, line: str, guess: str) -> str:
    """Return the full name that a guess becomes on a command line, or the answer to it."""
    words = line.split()
    try:
        return understood(app, [*words, f"{guess}=1"])[len(words)].removesuffix("=1")
    except UsageError as error:
        return str(error)


def full(options: Options, word: str) -> str:
    """Return the full name of an option, or the answer to one that is not there."""
    try:
        return options.full(word)
    except UsageError as error:
        return str(error)


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][\w.-]*[a-z0-9]", text)) - {"--help-all"}


@pytest.mark.parametrize(("line", "guess", "ours"), WORKS)
def test_a_guess_of_the_same_meaning_works(app: App, line: str, guess: str, ours: str) -> None:
    assert answer(app, line, guess).replace("_", "-") == ours


@pytest.mark.parametrize(("line", "guess", "ours"), ANSWERED)
def test_a_guess_of_another_meaning_is_answered(app: App, line: str, guess: str, ours: str) -> None:
    told = answer(app, line, guess)
    assert ours in told
    assert guess in told
    assert len(told) < 200


def test_the_table_is_long_enough() -> None:
    assert len({guess for _, guess, _ in (*WORKS, *ANSWERED)}) >= 60


@pytest.mark.slow
def test_no_answer_names_an_option_that_is_not_there(every: list[Options]) -> None:
    answers = 0
    for options in every:
        for guess in (*GUESSES, "given", "training.seed.x", "lerning-rate", "outputt", "maxtokens"):
            told = full(options, f"--{guess}")
            answers += " " in told
            named = options_in(told) - ({f"--{guess}"} if " " in told or options.any_word_is_text else set())
            assert all(map(options.has, named)), (options.command, told)
    assert answers > 500, "most of these names are not ours"


def test_each_option_has_a_short_form_or_an_answer_with_all_full_ones(every: list[Options]) -> None:
    shortened = 0
    for options in every:
        names = {name for argument in options.arguments if argument.show for name in argument.names}
        for name in names:
            short = "--" + name.rpartition(".")[2]
            if "." not in name or short in names or name in OTHER_MEANINGS:
                continue
            told = full(options, short)
            shortened += told == name
            assert told == name or (SEVERAL in told and name in told)
    assert shortened > 300


def test_a_run_is_trained_with_the_words_of_others(workplace: Path, glassgpt) -> None:
    done = glassgpt("train", "text.txt", "--n_layer", "1", "--n_head=1", "--n_embd", "8", "--block_size", "8",
                    "--max_iters=2", "--lr", "2e-3", "--batch_size", "2", "--vocab_size", "270", "--threads", "1",
                    "--dtype", "float32", "--sample-every", "0", "--device", "cpu", "--name", "guessed")  # fmt: skip
    assert done.status == 0, done.errors
    written = find_run("guessed").config.read_text()
    for line in ("n_layer = 1", "context_length = 8", "steps = 2", "learning_rate = 0.002", 'device = "cpu"'):
        assert line in written


def test_values_and_texts_stay_as_they_are(app: App) -> None:
    for line in (
        ["generate", "small", "--temperature", "-1", "--", "--lr"],
        ["tokenizer", "encode", "gpt2", "--lr"],
        ["train", "--training.optimizer-settings.lr", "1"],
        ["train", "--training.batch_size=3"],
        ["runs"],
    ):
        assert understood(app, line) == line
    with pytest.raises(UsageError, match="after --"):
        understood(app, ["generate", "small", "- a list"])


@pytest.mark.parametrize(("words", "parts"), [
    (("trin", "text.txt"), ("Did you mean `glassgpt train`?",)),
    (("finetune", "stf", "small"), ("`glassgpt finetune sft`?",)),
    (("--lr", "3"), ("glassgpt COMMAND --lr",)),
    (("text.txt",), ("glassgpt train text.txt",)),
    (("train", "text.txt", "--learning-rat", "1"), ("--training.learning-rate?",)),
    (("train", "text.txt", "--n-layer", "two"), ('unable to convert "two" into int',)),
    (("finetune", "sft"), ("glassgpt finetune sft needs RUN.",)),
    (("tokenizer", "train", "text.txt"), ("glassgpt tokenizer train needs --output.",)),
    (("train", "text.txt", "--lr"), ("--training.learning-rate needs a value",)),
    (("export", "small", "GGUF"), ("glassgpt export small --to gguf",)),
    (("export", "small", "hf", "--force"), ("glassgpt export small --to hf --force",)),
    (("resume", "small", "again"), ("only RUN", "glassgpt resume small")),
    (("runs", "show", "small", "small"), ("only RUN", "glassgpt runs show small")),
    (("doctor", "--json", "please"), ("only options", "glassgpt doctor --json")),
])  # fmt: skip
def test_a_slip_is_answered_in_one_paragraph(workplace: Path, glassgpt, words, parts) -> None:
    result = glassgpt(*words)
    assert result.status == 2
    assert result.errors.startswith("Error: ")
    assert not any(earlier in result.errors.replace("'", " ").split() for earlier in EARLIER)
    for part in parts:
        assert part in result.errors


def test_a_command_of_another_program_is_answered_with_ours(app: App) -> None:
    """Each of them, with a command that is there, and options that it has."""
    known = {" ".join(words) for words in commands(app)}
    for foreign, answer in COMMANDS.items():
        with pytest.raises(UsageError) as refused:
            understood(app, [foreign])
        assert answer in str(refused.value)
        ours = re.search(r"glassgpt ((?:(?:runs|tokenizer|data|finetune) )?[a-z]+)", answer)
        assert ours, answer
        assert ours[1] in known, answer
        assert set(re.findall(r"--[a-z-]+", answer)) <= {"--to", "--minutes"}


def test_a_slip_does_not_wait_for_torch(app: App) -> None:
    """On any command; torch takes seconds to import."""
    lines = [[*words, "--xyzzy"] for words in commands(app)] + [["trin"], ["finetune", "stf"]]
    program = (
        "import sys\nfrom glassgpt.cli.main import main\n"
        f"for line in {lines!r}:\n"
        "    try: main(line)\n"
        "    except SystemExit as done: assert done.code == 2, line\n"
        "    assert 'torch' not in sys.modules, line\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_a_name_that_leads_nowhere_does_not_wait_for_torch(workplace: Path) -> None:
    lines = ["generate Once", "chat hello", "classify hello", "export smal", "resume smal", "model nanno"]
    lines += [
        "train nowhere.txt",
        "train nowhere.txt --minutes 2",
        "sweep nowhere.txt --seeds 2",
        "plan nowhere.txt",
    ]
    lines += ["data inspect nowhere.txt", "tokenizer train nowhere.txt --output t.json"]
    lines += ["eval smal", "evaluate smal", "eval smal a.txt --tasks grammar", "finetune sft smal a.json"]
    lines += ["finetune sft small a.json", "finetune distill small a.txt", "finetune classify small a"]
    program = (
        "import sys\nfrom glassgpt.cli.main import main\n"
        f"for line in {lines!r}:\n"
        "    try: main(line.split())\n"
        "    except SystemExit as done: assert done.code == 1, line\n"
        "    assert 'torch' not in sys.modules, line\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=workplace)


def test_help_of_train_is_one_screen(monkeypatch: pytest.MonkeyPatch, glassgpt) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    brief = glassgpt("train", "--help").output
    assert len(brief.splitlines()) <= 30
    for word in ("SOURCES", "--minutes", "--model.n-layer", "[default: 4]", "--help-all"):
        assert word in brief
    everything = glassgpt("train", "text.txt", "--help-all").output
    assert len(everything.splitlines()) > 150
    assert "--model.rope-theta" in everything
    assert "--model.rope-theta" not in brief
    entries = [line for line in everything.splitlines() if line.startswith("│ --")]
    listed = [line for line in brief.splitlines() if line.startswith("│ --")]
    assert f"shows {len(entries) - len(listed)} more" in brief


@pytest.mark.parametrize("words", [("help",), ("help", "train"), ("help", "finetune", "sft")])
def test_help_is_a_word_too(glassgpt, words: tuple[str, ...]) -> None:
    assert glassgpt(*words).output == glassgpt(*words[1:], "--help").output != ""


@pytest.mark.parametrize(("line", "usage"), [
    ("train --help", "train [OPTIONS] [SOURCES...]"),
    ("finetune sft --help-all", "finetune sft [OPTIONS] RUN [DATA...]"),
    ("generate small --help", "generate [OPTIONS] [RUN] [PROMPT]"),
    ("runs -h", "runs COMMAND [OPTIONS] [RUNS...]"),
    ("tokenizer train --help", "tokenizer train --output PATH [OPTIONS] [SOURCES...]"),
])  # fmt: skip
def test_usage_names_its_words(glassgpt, line: str, usage: str) -> None:
    """It once said ARGS, and the reader had to look for the name below."""
    assert glassgpt(*line.split()).output.splitlines()[:2] == [f"Usage: glassgpt {usage}", ""]


def test_each_option_that_takes_a_tokenizer_takes_a_run(workplace: Path, glassgpt) -> None:
    """`tokenizer encode` knew names of runs, and `data inspect`, `import` and `train` did not."""
    by_name = glassgpt("data", "inspect", "text.txt", "--tokenizer", "small")
    assert by_name.output == glassgpt("data", "inspect", "text.txt", "--tokenizer", "runs/small").output
    assert "bytes each" in by_name.output
    quick = ("--steps", "1", "--n-layer", "1", "--n-embd", "8", "--n-head", "1", "--context-length", "8",
             "--batch-size", "1", "--sample-every", "0", "--precision", "float32", "--threads", "1")  # fmt: skip
    done = glassgpt("train", "text.txt", "--tokenizer.name", "small", *quick, "--name", "same")
    assert done.status == 0, done.errors
    assert find_run("same").tokenizer.read_text() == find_run("small").tokenizer.read_text()


def test_a_default_of_several_words_is_shown_as_it_is_typed(glassgpt) -> None:
    """It once was a tuple of Python: ('tinytales',)."""
    shown = glassgpt("finetune", "grpo", "--help-all").output
    assert "[default: tinytales]" in " ".join(shown.replace("│", " ").split())
    assert "('" not in shown


def test_version_is_a_word_too(glassgpt) -> None:
    assert glassgpt("version").output == glassgpt("-V").output == glassgpt("--version").output != ""


def test_help_in_a_narrow_window_breaks_no_name(monkeypatch: pytest.MonkeyPatch, glassgpt, every) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for options in every:
        shown = glassgpt(*options.command.split()[1:], "--help-all").output
        assert all(len(line) <= 60 for line in shown.splitlines()), options.command
        assert "--empty-" not in shown
        for argument in options.arguments:
            if argument.show and argument.name.startswith("--"):
                assert argument.name in shown.split()

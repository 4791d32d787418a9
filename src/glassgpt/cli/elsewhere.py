"""What other programs call our options: nanoGPT, transformers, llama.cpp, litgpt, mlx-lm.

Each entry is tried in order on the command that was called, and counts only if that command has the options it names.
A word alone is our name for the same meaning in the same unit: the option then works. A sentence is an answer, for a
meaning or a unit that differs; `{name}` in it becomes the full name of our option.
"""

from __future__ import annotations

DEVICE_BATCH = "Give {batch-size}: it counts the rows over all devices together, not those of one."
LAYERS_ON_DEVICE = "A model is on one device as a whole: use {device} cuda or {device} cpu."
NO_DEVICE = "There is nothing to choose here: only models that train or write use a device."
ON_CPU = "Use {device} cpu."
ON_GPU = "Use {device} cuda."
ONE_PRECISION = "Use {precision} bfloat16. There is no training in float16."
EVALUATED_TOKENS = "Give {evaluate-tokens}: the size of an evaluation is in tokens here, not in batches."
NAMED_RUN = (
    "Every run has its own folder: give its {name}. The environment variable GLASSGPT_RUNS says where."
)
IMPORTED = "A model from elsewhere becomes a run by  glassgpt import SOURCE"
RESUMED = f"{IMPORTED}  A run that was stopped goes on by  glassgpt resume RUN"
DATA = "Name the data without an option, after the run. {epochs} is the number of passes over it."
TRACKED = "Use {track} wandb. Its project and name are set by the variables WANDB_PROJECT and WANDB_NAME."
AS_SAVED = "The weights are used as they were saved, or with {weights} int8 in a quarter of the memory."
INT8 = "Use {weights} int8."

WRITES = "A run writes with  glassgpt generate RUN"
TALKS = "A run talks with  glassgpt chat RUN"
TRAINS = "A model is trained with  glassgpt train TEXT"
TUNES = "A run learns from records with  glassgpt finetune sft RUN DATA"
LISTS = "The runs are listed by  glassgpt runs"
LOOKS_AT_TEXT = "Text is looked at with  glassgpt data inspect TEXT"
EXPORTS = "A run becomes a file for llama.cpp with  glassgpt export RUN --to gguf"
SERVES = "Nothing here serves a run over HTTP yet. llama.cpp does, from  glassgpt export RUN --to gguf"

COMMANDS: dict[str, str] = {
    **dict.fromkeys(
        ("sample", "complete", "completion", "write", "run", "infer", "inference", "predict"), WRITES
    ),
    **dict.fromkeys(("talk", "ask", "repl", "interactive"), TALKS),
    **dict.fromkeys(("pretrain", "fit", "learn", "new", "init", "demo", "create", "quickstart"), TRAINS),
    **dict.fromkeys(("sft", "dpo", "grpo", "lora", "distill", "tune", "instruct", "align"), TUNES),
    **dict.fromkeys(("ls", "list", "ps", "models", "status", "history"), LISTS),
    **dict.fromkeys(("convert", "quantize", "gguf", "onnx", "save"), EXPORTS),
    **dict.fromkeys(("serve", "server", "web", "ui", "studio", "api"), SERVES),
    **dict.fromkeys(("prepare", "dataset", "preprocess", "inspect", "corpus"), LOOKS_AT_TEXT),
    **dict.fromkeys(
        ("rm", "remove", "delete", "del"),
        "A run is removed, and can come back, with  glassgpt runs remove RUN",
    ),
    **dict.fromkeys(("mv", "rename"), "A run gets another name with  glassgpt runs rename RUN NAME"),
    **dict.fromkeys(("show", "info", "describe", "cat"), "Everything about a run:  glassgpt runs show RUN"),
    **dict.fromkeys(
        ("compare", "diff", "plot"), "Curves are drawn over each other by  glassgpt runs compare RUN RUN"
    ),
    **dict.fromkeys(
        ("pack", "share", "zip"), "A run becomes a small folder to give away with  glassgpt runs pack RUN"
    ),
    **dict.fromkeys(
        ("prune", "clean", "gc"), "Checkpoints of finished runs are removed by  glassgpt runs prune"
    ),
    **dict.fromkeys(("restore", "undo"), "Removed runs are listed by  glassgpt runs restore"),
    **dict.fromkeys(("download", "pull", "load", "from-hf"), IMPORTED),
    **dict.fromkeys(("tokenize", "encode"), "Text becomes tokens with  glassgpt tokenizer encode RUN TEXT"),
    **dict.fromkeys(("decode", "detokenize"), "Ids become text with  glassgpt tokenizer decode RUN IDS"),
    **dict.fromkeys(
        ("test", "check", "benchmark", "bench", "setup"),
        "Whether all works here is shown by  glassgpt doctor",
    ),
    **dict.fromkeys(
        ("perplexity", "score", "lm-eval", "lm_eval", "measure"), "A run is measured with  glassgpt eval RUN"
    ),
    **dict.fromkeys(("continue", "restart"), "A run that was stopped goes on by  glassgpt resume RUN"),
    **dict.fromkeys(
        ("hyperparameters", "search", "grid", "ablate", "ablation"),
        "Several settings are tried by  glassgpt sweep TEXT",
    ),
    **dict.fromkeys(
        ("estimate", "budget"), "What would be trained in some minutes:  glassgpt plan TEXT --minutes 10"
    ),
}
"""Commands of other programs, and what to type here."""

GUESSES: dict[str, tuple[str, ...]] = {
    # the model
    "block-size": ("context-length",),
    "c": ("context-length",),
    "context-size": ("context-length",),
    "ctx-size": ("context-length",),
    "max-position-embeddings": ("context-length",),
    "max-seq-len": ("context-length",),
    "max-seq-length": ("context-length",),
    "max-sequence-length": ("context-length",),
    "n-ctx": ("context-length",),
    "n-positions": ("context-length",),
    "seq-len": ("context-length",),
    "seq-length": ("context-length",),
    "sequence-length": ("context-length",),
    "depth": ("n-layer",),
    "layers": ("n-layer",),
    "n-layers": ("n-layer",),
    "num-hidden-layers": ("n-layer",),
    "num-layers": ("n-layer",),
    "heads": ("n-head",),
    "n-heads": ("n-head",),
    "num-attention-heads": ("n-head",),
    "num-heads": ("n-head",),
    "n-kv-heads": ("n-kv-head",),
    "n-query-groups": ("n-kv-head",),
    "num-key-value-heads": ("n-kv-head",),
    "head-dim": ("n-head-dim",),
    "head-size": ("n-head-dim",),
    "d-model": ("n-embd",),
    "dim": ("n-embd",),
    "embed-dim": ("n-embd",),
    "hidden-size": ("n-embd",),
    "n-embed": ("n-embd",),
    "d-ff": ("n-hidden",),
    "intermediate-size": ("n-hidden",),
    "hidden-act": ("activation",),
    "bias": ("Biases are switched one by one: {qkv-bias}, {attention-bias}, {mlp-bias}, {norm-bias}.",),
    "rope-base": ("rope-theta",),
    "rope-freq-base": ("rope-theta",),
    "tie-weights": ("tied-head",),
    "tie-word-embeddings": ("tied-head",),
    "vocab-size": ("tokenizer.vocab-size",),  # which sets model.vocab-size
    "model": (
        "run",
        "Give {preset} for the shape of a known model, or single settings such as {n-layer}.",
        IMPORTED,
    ),
    # how it is trained
    "lr": ("learning-rate",),
    "max-lr": ("learning-rate",),
    "min-lr": ("min-learning-rate",),
    "iters": ("steps",),
    "max-iters": ("steps",),
    "max-steps": ("steps",),
    "num-iterations": ("steps",),
    "num-steps": ("steps",),
    "train-steps": ("steps",),
    "max-epochs": ("epochs",),
    "n-epochs": ("epochs",),
    "num-epochs": ("epochs",),
    "num-train-epochs": ("epochs",),
    "b": ("batch-size",),
    "bs": ("batch-size",),
    "global-batch-size": (
        "Give {batch-size}, the rows of one batch, and {accumulate}, the batches of one update.",
    ),
    "device-batch-size": (DEVICE_BATCH,),
    "micro-batch-size": (DEVICE_BATCH,),
    "per-device-train-batch-size": (DEVICE_BATCH,),
    "grad-accumulation-steps": ("accumulate",),
    "gradient-accumulation-steps": ("accumulate",),
    "decay-lr": ("Give {schedule}: constant keeps the learning rate, cosine lets it fall.",),
    "lr-decay-iters": ("The learning rate always falls until the last of {steps}.",),
    "lr-schedule": ("schedule",),
    "lr-scheduler": ("schedule",),
    "lr-scheduler-type": ("schedule",),
    "scheduler": ("schedule",),
    "lr-warmup-steps": ("warmup-steps",),
    "warmup": ("warmup-steps",),
    "warmup-iters": ("warmup-steps",),
    "warmup-ratio": ("Give {warmup-steps}: the warm-up is a number of steps here, not a share of them.",),
    "optim": ("Give {optimizer}: adamw or muon.",),
    "adam-beta1": ("beta1",),
    "adam-beta2": ("beta2",),
    "adam-epsilon": ("epsilon",),
    "eps": ("epsilon",),
    "wd": ("weight-decay",),
    "clip-grad": ("clip",),
    "grad-clip": ("clip",),
    "gradient-clip-val": ("clip",),
    "max-grad-norm": ("clip",),
    "max-norm": ("clip",),
    "early-stopping-patience": ("patience",),
    "grad-checkpoint": ("checkpoint-activations",),
    "gradient-checkpointing": ("checkpoint-activations",),
    "bf16": (ONE_PRECISION,),
    "fp16": (ONE_PRECISION,),
    "dtype": ("precision", AS_SAVED),
    "torch-dtype": ("precision", AS_SAVED),
    "torch-compile": ("compile",),
    "seed": ("training.seed",),  # and not that of the split or the samples
    # what happens while it is trained
    "eval-every": ("evaluate-every",),
    "eval-interval": ("evaluate-every",),
    "eval-steps": ("evaluate-every",),
    "steps-per-eval": ("evaluate-every",),
    "eval-iters": (EVALUATED_TOKENS,),
    "val-batches": (EVALUATED_TOKENS,),
    "log-interval": ("log-every",),
    "logging-steps": ("log-every",),
    "steps-per-report": ("log-every",),
    "checkpoint-interval": ("checkpoint-every",),
    "save-every": ("checkpoint-every",),
    "save-interval": ("checkpoint-every",),
    "save-steps": ("checkpoint-every",),
    "save-total-limit": ("Give {keep-checkpoints}: the best checkpoint is kept in addition to them.",),
    "always-save-checkpoint": ("Give {checkpoint-every} and {keep-checkpoints}.",),
    "report-to": ("track",),
    "wandb": (TRACKED,),
    "wandb-log": (TRACKED,),
    "wandb-project": (TRACKED,),
    "wandb-run-name": (TRACKED,),
    "out-dir": ("output", NAMED_RUN, "run"),
    "output-dir": ("output", NAMED_RUN),
    "run-name": ("name",),
    "base": (RESUMED,),
    "from": (RESUMED,),
    "init-from": (RESUMED,),
    "pretrained": (RESUMED,),
    "format": ("to",),
    "outtype": ("to",),
    "resume-from-checkpoint": (RESUMED,),
    # what it learns from
    "data": ("corpus.sources", DATA),
    "dataset": ("corpus.sources", DATA),
    "train-data": ("corpus.sources", DATA),
    "test-size": ("validation",),
    "val-split": ("validation",),
    "val-split-fraction": ("validation",),
    "validation-split": ("validation",),
    # corrections instead of whole models
    "lora-alpha": ("lora.alpha",),
    "lora-dropout": ("lora.dropout",),
    "lora-r": ("lora.rank",),
    "lora-rank": ("lora.rank",),
    "r": ("lora.rank",),
    "target-modules": ("Give {lora.targets}: the matrices have short names here, such as query and value.",),
    # what it writes
    "max-length": ("Give {max-tokens}: it counts what is written, without the prompt.",),
    "max-new-tokens": ("max-tokens",),
    "n-predict": ("max-tokens",),
    "num-predict": ("max-tokens",),
    "num-tokens": ("max-tokens",),
    "n": (
        "Give {max-tokens} for the number of tokens, or {count} for the number of texts.",
        "max-tokens",
    ),
    "num-return-sequences": ("count",),
    "num-samples": ("count",),
    "temp": ("temperature",),
    "topk": ("top-k",),
    "topp": ("top-p",),
    "repeat-penalty": ("repetition-penalty",),
    "do-sample": ("Give {greedy} for the likeliest tokens; otherwise tokens are drawn by {temperature}.",),
    "reverse-prompt": ("stop",),
    "stop-sequence": ("stop",),
    "p": ("prompt",),
    "start": ("prompt",),
    "sys": ("system",),
    "system-prompt": ("system",),
    "m": ("run",),
    "model-path": ("run",),
    "checkpoint": ("run",),
    "checkpoint-dir": ("run",),
    "ckpt": ("run",),
    "load-in-8bit": (INT8,),
    "quantize": (INT8,),
    # where it computes
    "device": ("training.device", NO_DEVICE),
    "cpu": (ON_CPU,),
    "no-cuda": (ON_CPU,),
    "use-cpu": (ON_CPU,),
    "cuda": (ON_GPU,),
    "gpu": (ON_GPU,),
    "gpu-layers": (LAYERS_ON_DEVICE,),
    "n-gpu-layers": (LAYERS_ON_DEVICE,),
    "ngl": (LAYERS_ON_DEVICE,),
    "device-map": ("Give {device}: a model is on one device as a whole.",),
    "num-threads": ("threads",),
    "t": ("threads",),
    "s": ("seed",),
    "o": ("output",),
    "out": ("output",),
    "output-file": ("output",),
}

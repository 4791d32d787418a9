"""Opening a base for fine-tuning: its chat template, the tokens it lacks, and which weights are trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from glassgpt.adapters.lora import add_lora
from glassgpt.architectures.families import family_of
from glassgpt.chat.conversation import template_of
from glassgpt.chat.templates import NEW_TOKENS, ChatTemplate, TemplateName, make_template
from glassgpt.device import World, seed_everything
from glassgpt.errors import ConfigError
from glassgpt.finetuning.config import KINDS, kind_name
from glassgpt.finetuning.settings import ChatConfig, FineTuneConfig, without_usual_passes
from glassgpt.finetuning.task import Say, Start
from glassgpt.finetuning.vocabulary import grow, missing, with_special_tokens
from glassgpt.model.attention import Attention
from glassgpt.model.gpt import GPT
from glassgpt.runs.opening import Run
from glassgpt.tokenizers.fast import FastTokenizer


def make_start(
    run: Run, data: Sequence[str], config: FineTuneConfig, *, device: torch.device, world: World, say: Say
) -> Start:
    """Return the start of a fine-tuning of an opened run, with its random draws seeded.

    Raises `ConfigError` when the base does not suit the settings.
    """
    seed_everything(config.training.seed)
    model, tokenizer, template = run.model.requires_grad_(True).train(), run.tokenizer, None
    if isinstance(config, ChatConfig):
        template, tokenizer = speak(run, config, say)
        grow(model, tokenizer.vocab_size)
    if KINDS[kind_name(config)].compared:
        without_dropout(model)
    model.to(device)
    if config.adapter.rank:
        family_of(model.config)  # the adapter's format cannot hold models of no family: fail early
        add_lora(model, config.adapter)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        say(f"LoRA trains {trained:,} parameters beside {model.num_parameters() - trained:,} frozen ones.")
    return Start(
        run=run,
        model=model,
        tokenizer=tokenizer,
        device=device,
        data=tuple(data),
        seed=config.training.seed,
        batch_size=config.training.batch_size,
        template=template,
        world=world,
        say=say,
    )


def without_dropout(model: GPT) -> GPT:
    """Switch dropout off; return the same model.

    Its log-probabilities are compared with the base's, and chance must not make a difference there.
    """
    model.config = dataclasses.replace(model.config, dropout=0.0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, Attention):
            module.config = model.config
    return model


def speak(run: Run, config: ChatConfig, say: Say) -> tuple[ChatTemplate | None, FastTokenizer]:
    """Return the chat template (None for a base that continues plain text) and the tokenizer it needs."""
    own = template_of(run)
    if config.template == "auto" and (own is not None or config.PLAIN):
        return own, run.tokenizer
    name: TemplateName = _choose(run, config) if config.template == "auto" else config.template
    new = missing(run.tokenizer, NEW_TOKENS[name])
    if new and config.lora.rank:
        raise ConfigError(
            f"The template {name} needs the new tokens {' and '.join(new)}, whose rows LoRA does not train. Use "
            "--template alpaca, or fine-tune the whole model (--lora.rank 0) first."
        )
    tokenizer = with_special_tokens(run.tokenizer, new) if new else run.tokenizer
    say(
        f"Turns are written in the {name} style"
        + (f", with the new tokens {' and '.join(new)}." if new else ".")
    )
    return make_template(name, tokenizer), tokenizer


def _choose(run: Run, config: ChatConfig) -> TemplateName:
    return "alpaca" if config.lora.rank and missing(run.tokenizer, NEW_TOKENS["chatml"]) else "chatml"


def fitted(config: FineTuneConfig, width: int, given: Sequence[str]) -> FineTuneConfig:
    """Return the config, with every setting not in `given` fitted to a base of this width.

    A given number of steps replaces the default number of passes. Small models tolerate a high learning rate; at
    GPT-2's width the usual one is 5e-5, and LoRA corrections, which begin at zero, tolerate several times that.
    Preferences need a lower rate, or the model forgets how to speak while it learns what not to say.
    """
    training = without_usual_passes(config, given).training
    if "training.learning_rate" not in given:
        rate = min(1e-3, 2e-4 * 768 / width) if width < 768 else 5e-5
        rate *= 5 if config.adapter.rank else 1
        rate *= KINDS[kind_name(config)].rate
        lowest = training.min_learning_rate if "training.min_learning_rate" in given else 0.0
        training = dataclasses.replace(training, learning_rate=float(f"{rate:.2g}"), min_learning_rate=lowest)
    return dataclasses.replace(config, training=training)

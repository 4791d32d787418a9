"""`/tokenize`, `/detokenize`, `/tokenizer_info`: a run's vocabulary, as evaluation programs ask for it."""

from __future__ import annotations

from glassgpt.serving.answers import Detokenized, Tokenized, TokenizerInfo
from glassgpt.serving.errors import Refused
from glassgpt.serving.models import Loaded
from glassgpt.serving.prompts import chat_prompt, refuse_unknown_ids
from glassgpt.serving.schemas import DetokenizeAsked, TokenizeAsked
from glassgpt.serving.tokens import token_text
from glassgpt.tokenizers.fast import FastTokenizer


def tokenize(loaded: Loaded, asked: TokenizeAsked) -> Tokenized:
    """Return the ids of a text or of a chat.

    The name of a special token alone is that token; within a text it is text, as everywhere.
    """
    run = loaded.run
    if asked.messages is not None:
        if loaded.template is None:
            raise Refused(400, f"{loaded.name} has no chat template.", param="messages")
        ids = chat_prompt(run, loaded.template, asked.messages).ids
    else:
        text = asked.prompt or ""
        is_name = text in run.tokenizer.special_names
        ids = run.tokenizer.encode(text, allow_special=is_name)
        if asked.add_special_tokens is not False and not is_name:
            ids = [*run.before, *ids]
    return {
        "count": len(ids),
        "max_model_len": run.model.config.context_length,
        "tokens": ids,
        "token_strs": [token_text(run.tokenizer, id) for id in ids] if asked.return_token_strs else None,
    }


def detokenize(loaded: Loaded, asked: DetokenizeAsked) -> Detokenized:
    """Return the text of ids, special tokens by their names."""
    refuse_unknown_ids(loaded.run, asked.tokens, "tokens")
    return {"prompt": loaded.run.tokenizer.decode(asked.tokens, skip_special=False)}


def tokenizer_info(loaded: Loaded) -> TokenizerInfo:
    """Return what a program needs to encode texts as this run does."""
    run = loaded.run
    tokenizer = run.tokenizer
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "vocab_size": tokenizer.vocab_size,
        "model_max_length": run.model.config.context_length,
        "bos_token": _name(tokenizer, run.prompt_ids("")[-1]),
        "eos_token": _name(tokenizer, tokenizer.end_of_text),
        "pad_token": None,
        "unk_token": None if tokenizer.unknown_id is None else _name(tokenizer, tokenizer.unknown_id),
        "chat_template": None if loaded.template is None else loaded.template.source,
    }


def _name(tokenizer: FastTokenizer, id: int) -> str:
    return tokenizer.decode([id], skip_special=False)

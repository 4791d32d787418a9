"""Token ids to logits: one decoder-only transformer whose parts are chosen by config.

`config` and `presets` say what a model is, `summary` what it costs; none of them imports torch. `gpt` is
the model, made of `layers`, `positions` and `attention`, with `cache` for generation. `ladder` explains
attention step by step, for reading. Nothing here knows a tokenizer, optimizer, checkpoint or file.
"""

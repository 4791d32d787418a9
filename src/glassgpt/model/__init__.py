"""Token ids to logits: one decoder-only transformer whose parts are chosen by config.

`config` and `presets` say what a model is, `summary` what it costs; none of them imports torch. `gpt` is
the model, made of `layers`, `positions` and `attention`, with `cache` for generation. `ladder` climbs to
attention step by step, for reading. No tokenizer, optimizer, checkpoint or file is known here.
"""

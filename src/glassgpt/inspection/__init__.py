"""What a model is doing: every number on the way of a text, and what each part of the model adds to the result.

`seen` gives ids to a model and returns the tensors at its named points (`model.points`). `trace` keeps all of them,
with the text. Each other module answers one question with plain functions of a model and ids. Nothing here changes a
model: what is replaced during a `with` block is as before after it.
"""

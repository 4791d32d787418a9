"""A small story world: children's stories from a seeded grammar whose entropy is known exactly.

Import the modules: `generate` writes stories, `parse` reads one back, `score` judges many, and
`entropy` computes the fewest bits per story that any language model can reach. `grammar` is the
machinery; `world`, `troubles` and `sentences` are the content of the stories.
"""

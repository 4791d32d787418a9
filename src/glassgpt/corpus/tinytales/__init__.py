"""A small story world: children's stories from a seeded grammar whose entropy is known exactly.

Import the modules: `generate` writes stories, `parse` reads one back, `score` judges many,
`entropy` says how few bits a story can cost any language model. `grammar` is the machinery;
`world`, `troubles` and `sentences` are what the stories are made of.
"""

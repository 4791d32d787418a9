"""From text to loss: a tokenizer, a model and a loop of your own, from the parts of GlassGPT."""

import torch

from glassgpt import GPT, GenerationConfig, ModelConfig, complete
from glassgpt.corpus.sources import open_sources, read_all
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.training.losses import next_token_loss

TEXT = "builtin:tinytales:400"  # or a file or a folder of your own
STEPS, BATCH, CONTEXT = 150, 16, 64

# Text to ids: learn a vocabulary from the text, and hold out the last tenth of it.
text = "\n\n".join(document.text for document in read_all(open_sources([TEXT])))
tokenizer = BPETokenizer.train([text], vocab_size=512)
ids = torch.tensor(tokenizer.encode(text))
learned, held_out = ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :]


def batch(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw windows of the text, and the same windows one token later: what the model has to predict."""
    starts = torch.randint(len(part) - CONTEXT, (BATCH,))
    windows = torch.stack([part[start : start + CONTEXT + 1] for start in starts])
    return windows[:, :-1], windows[:, 1:]


# Ids to loss: the model is an ordinary torch module, and the loss an ordinary tensor.
torch.manual_seed(1)
size = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=CONTEXT, n_layer=2, n_head=4, n_embd=64)
model = GPT(size)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for step in range(STEPS + 1):
    if step % 50 == 0:
        with torch.no_grad():
            print(f"step {step:3}: loss {next_token_loss(model, *batch(held_out)):.2f}")
    next_token_loss(model, *batch(learned)).backward()
    optimizer.step()
    optimizer.zero_grad()
print(complete(model, tokenizer, "Once", GenerationConfig(seed=1, max_tokens=50), documents=False)[0])

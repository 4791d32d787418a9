"""A GPT-2 trained by the `Trainer` of transformers: AdamW at a constant rate, without logging, saving or evaluation."""

from __future__ import annotations

import tempfile
from typing import Any

from torch import Tensor

LEARNING_RATE, WEIGHT_DECAY, BETA2, CLIP = 1e-3, 0.1, 0.95, 1.0


def train(model: Any, rows: Tensor, *, batch_size: int, steps: int) -> None:
    """Make a number of updates of a `GPT2LMHeadModel` on rows of ids (N, T), shuffled by the `Trainer`.

    The model predicts the last T - 1 ids of each row. `Trainer` needs the library accelerate.
    """
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            optim="adamw_torch",
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            weight_decay=WEIGHT_DECAY,
            adam_beta2=BETA2,
            max_grad_norm=CLIP,
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        data: Any = [{"input_ids": row, "labels": row} for row in rows]
        trainer = transformers.Trainer(model=model, args=settings, train_dataset=data)
        # It would print a line at the end.
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    assert trainer.state.global_step == steps

"""A real Mixtral, small, with random weights: `python -m tests.nodes.mixtral FOLDER` makes one.

It speaks noise, in Mixtral 8x22B's own architecture, tokenizer and prompt format.
"""

from __future__ import annotations

import shutil
import sys
from importlib.resources import files
from pathlib import Path

ENGINE = {"tokenizer_mode": "mistral", "max_model_len": 4096}
_TOKENIZER = "mistral_instruct_tokenizer_240323.model.v3"


def make(folder: Path) -> None:
    """Write the model into a folder, the same one every time."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(22)
    config = MixtralConfig(
        vocab_size=32768,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=8,
        num_experts_per_tok=2,
        max_position_embeddings=4096,
        dtype="bfloat16",
    )
    MixtralForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    shutil.copyfile(str(files("mistral_common") / "data" / _TOKENIZER), folder / "tokenizer.model.v3")


if __name__ == "__main__":
    make(Path(sys.argv[1]))

"""A language model of next to nothing, made by chance: needs torch, transformers and peft."""

from __future__ import annotations

from pathlib import Path

import pytest
from language_data import WORDS


def make(folder: Path, seed: int = 0, **config: int) -> Path:
    """Two layers of 32 numbers and a vocabulary of its own."""
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'pytest-joules[lora]'")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'pytest-joules[lora]'")
    pytest.importorskip("peft", reason="peft is not installed: pip install 'pytest-joules[lora]'")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, **config}
    sizes |= {"vocab_size": len(WORDS) + 5, "max_position_embeddings": 64}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # Far apart, as trained ones are: what is as good as the same for all words teaches nothing.
        made = transformers.BertModel(transformers.BertConfig(initializer_range=0.5, **sizes), add_pooling_layer=False)
    made.save_pretrained(folder, safe_serialization=True)
    return folder

"""A small transformer, built in place, and its variants: in bfloat16, quantised, pruned.

Its layers are random, only the answer is fitted, by least squares: that takes a second, and is enough for variants to differ.
"""

from __future__ import annotations

import torch
from torch import nn

WIDTH, HEADS, LAYERS, WORDS, LENGTH = 64, 4, 6, 40, 48
#: Sequences of the evaluation.
ITEMS = 96


class Layer(nn.Module):
    """Attention and two linear layers, each beside what goes past it."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.attend, self.mix = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, found: torch.Tensor) -> torch.Tensor:
        count, length, _ = found.shape
        heads = self.attend(self.norms[0](found)).view(count, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(count, length, WIDTH)
        found = found + self.mix(attended)
        return found + self.narrow(nn.functional.gelu(self.widen(self.norms[1](found))))


class Transformer(nn.Module):
    """Says whether more words of a sequence are of the first half of the vocabulary than of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.answer = nn.Linear(WIDTH, 1)

    def features(self, sequences: torch.Tensor) -> torch.Tensor:
        found = self.words(sequences)
        for layer in self.layers:
            found = layer(found)
        return found.mean(dim=1)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        return self.answer(self.features(sequences))[:, 0] > 0


def sequences(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Words, and whether more are of the first half."""
    words = torch.randint(WORDS, (count, LENGTH), generator=torch.Generator().manual_seed(seed))
    return words, (words < WORDS // 2).float().mean(dim=1) > 0.5


def fitted(model: Transformer) -> Transformer:
    """With the answer that fits its layers."""
    with torch.inference_mode():
        words, more = sequences(768, seed=1)
        features = model.features(words)
        middle = features.mean(dim=0)
        weights = torch.linalg.lstsq(features - middle, more.float()[:, None] - 0.5).solution
        model.answer.weight.copy_(weights.T)
        model.answer.bias.copy_(-(middle @ weights)[0])
    return model


def variant(name: str) -> nn.Module:
    """A variant of the full model by its name; the same in every process."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Transformer().eval()
    if name.startswith("pruned-"):
        model.layers = model.layers[: LAYERS - int(name.removeprefix("pruned-"))]
    fitted(model)
    if name == "bf16":
        return model.to(torch.bfloat16)
    if name == "int8":
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    return model

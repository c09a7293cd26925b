"""Base, adapters and head as one network: low-rank matrices beside the attention's ``query`` and ``value`` of each layer (Hu et
al., LoRA, 2021), the mean over a text's tokens, and a linear head with one number a target."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_joules.language_model.base import Base
from pytest_joules.language_model.extra import libraries
from pytest_joules.language_model.settings import Settings
from pytest_joules.predict.model import ModelError
from pytest_joules.predict.scoring.arrays import Array

#: What of a layer's attention is adapted.
ADAPTED = ("query", "value")

#: Texts at a time.
BATCH = 32

#: Numbers that are learned, at most: an unfinished training has three of each, and must go into a file that is read again.
MOST_LEARNED = 2_000_000


def names_of(settings: Settings) -> list[str]:
    """The arrays of an adapter: ``layer.3.query.A`` (rank x hidden) and ``layer.3.query.B`` (hidden x rank)."""
    return [f"layer.{layer}.{part}.{side}" for layer in range(settings.layers) for part in ADAPTED for side in "AB"]


class Network:
    """Made with adapters that change nothing yet and a head of zeros; frozen but for these.

    ``device``: ``"cpu"`` or ``"cuda"``.

    Raises:
        ModelError: what is needed is not installed, or the base model cannot be used.
    """

    def __init__(self, base: Base, settings: Settings, targets: int, device: str = "cpu", threads: int = 1) -> None:
        check_size(base, settings)
        found = libraries()
        self.torch = torch = found.torch
        self.settings = settings
        self.device = device
        torch.set_num_threads(threads)
        # Where the processor multiplies matrices of half as long numbers: 36 for 73 CPU ms a test and epoch, and the same result
        # each time. Elsewhere it would be slower.
        self.half = device == "cpu" and bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
        try:
            self.tokenizer = found.transformers.AutoTokenizer.from_pretrained(
                base.folder, local_files_only=True, trust_remote_code=False
            )
            encoder = _encoder(found.transformers, base, settings.layers)
        except ModelError:
            raise
        except Exception as error:  # whatever a damaged folder makes of the libraries
            what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ModelError(f"the base model in {base.folder} cannot be loaded ({what}): install or copy it anew") from None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            wanted = found.peft.LoraConfig(
                r=settings.rank, lora_alpha=2 * settings.rank, target_modules=list(ADAPTED), lora_dropout=0.0
            )
            self.encoder = found.peft.get_peft_model(encoder, wanted).to(device)
        self.encoder.eval()  # no dropout: what is learned follows from the seed alone
        self.head = torch.nn.Linear(base.hidden, targets).to(device)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.zero_()
        self.parts: dict[str, Any] = _adapters(self.encoder, settings) | {
            "head.weight": self.head.weight,
            "head.bias": self.head.bias,
        }

    def numbers(self) -> dict[str, Array]:
        """What is trained, as 32-bit numbers."""
        return {name: part.detach().cpu().numpy().astype(np.float32).copy() for name, part in self.parts.items()}

    def take(self, numbers: Mapping[str, Array]) -> None:
        """Put what was trained in its place; of the shapes of :meth:`numbers`."""
        with self.torch.no_grad():
            for name, part in self.parts.items():
                part.copy_(self.torch.tensor(np.array(numbers[name], np.float32)))

    def tokens(self, texts: Sequence[str]) -> list[Array]:
        """The numbers of each text's tokens."""
        if not texts:
            return []
        found = self.tokenizer(list(texts), truncation=True, max_length=self.settings.tokens, return_attention_mask=False)
        return [np.array(ids, np.int64) for ids in found["input_ids"]]

    def forward(self, ids: Sequence[Array]) -> Any:  # noqa: ANN401 - a tensor
        """Texts x targets, padded to the longest of these."""
        torch = self.torch
        longest = max(len(one) for one in ids)
        padded = np.full((len(ids), longest), self.tokenizer.pad_token_id or 0, np.int64)
        mask = np.zeros((len(ids), longest), np.int64)
        for row, one in enumerate(ids):
            padded[row, : len(one)], mask[row, : len(one)] = one, 1
        given, there = (torch.from_numpy(part).to(self.device) for part in (padded, mask))
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.half):
            hidden = self.encoder(input_ids=given, attention_mask=there).last_hidden_state
        weights = there[..., None].float()
        return self.head((hidden.float() * weights).sum(1) / weights.sum(1))

    def score(self, ids: Sequence[Array]) -> Array:
        """The same as an array, texts of like lengths together, without learning."""
        result = np.zeros((len(ids), self.head.out_features))
        order = np.argsort([len(one) for one in ids], kind="stable")
        with self.torch.no_grad():
            for begin in range(0, len(order), BATCH):
                rows = order[begin : begin + BATCH]
                result[rows] = self.forward([ids[row] for row in rows]).cpu().numpy()
        return result


def check_size(base: Base, settings: Settings) -> None:
    """Raises:
    ModelError: the base model is smaller than what is asked of it.
    """
    if settings.layers > base.layers:
        raise ModelError(f"the base model has {base.layers} layers: --lora-layers={settings.layers} is too many")
    if settings.tokens > base.positions:
        raise ModelError(f"the base model reads {base.positions} tokens at most: --lora-tokens={settings.tokens} is too many")
    if (many := len(names_of(settings)) * settings.rank * base.hidden) > MOST_LEARNED:
        raise ModelError(f"{many} numbers would be learned, and {MOST_LEARNED} fit a file: lower --lora-rank={settings.rank}")


def _encoder(transformers: Any, base: Base, layers: int) -> Any:  # noqa: ANN401 - modules without types
    config = transformers.AutoConfig.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)
    config.num_hidden_layers = layers
    model, found = transformers.AutoModel.from_pretrained(
        base.folder,
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        add_pooling_layer=False,
        # On processors torch's fused attention learns slowly: half of all time went into it.
        attn_implementation="eager",
        output_loading_info=True,
    )
    if missing := sorted(found["missing_keys"]):
        raise ModelError(f"the base model in {base.folder} lacks {len(missing)} weights ({missing[0]}): install or copy it anew")
    return model.float().requires_grad_(False)


def _adapters(encoder: Any, settings: Settings) -> dict[str, Any]:  # noqa: ANN401
    """By :func:`names_of`, peft's parameters."""
    found = {}
    for name, parameter in encoder.named_parameters():
        if "lora_" in name:
            words = name.split(".")
            layer, part = words[words.index("layer") + 1], next(word for word in words if word in ADAPTED)
            found[f"layer.{layer}.{part}.{'A' if 'lora_A' in words else 'B'}"] = parameter
    return {name: found[name] for name in names_of(settings)}


@contextlib.contextmanager
def device_errors(device: str) -> Iterator[None]:
    """What a graphics processor that vanishes, or too little memory, makes of what is inside is one sentence.

    Raises:
        ModelError: it did.
    """
    try:
        yield
    except RuntimeError as error:
        what, kept = " ".join(str(error).split())[:160], "what was finished is kept, and the same command goes on from it"
        if device != "cpu":
            raise ModelError(f"the {device} device failed ({what}): {kept}, without --device={device} too") from None
        if "memory" in what:
            raise ModelError(f"there is too little memory ({what}): {kept}; --lora-tokens and --lora-layers need less") from None
        raise


def check_device(device: str) -> None:
    """Raises:
    ModelError: it cannot be trained there.
    """
    if device == "cuda" and not libraries().torch.cuda.is_available():
        raise ModelError("--device=cuda: torch finds no CUDA device here; without it the processor is used")

"""Teaching a network: epochs over tests in an order of their own, resumable between any two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pytest_joules.language_model.network import BATCH, Network
from pytest_joules.predict.scoring.arrays import Array

#: Steps of the optimiser (AdamW), at most: the adapters', and the head's, which begins at zero.
RATE, HEAD_RATE = 1e-3, 5e-3
#: Of all steps, those in which the rate rises; then it falls to zero in a straight line.
_WARMING = 0.06
#: Standard deviations beyond which an error counts no more than linearly.
_HUBER = 1.0
#: Batches that are sorted by length together: texts of like length need little padding.
_TOGETHER = 16
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Teacher:
    """Brings a network from one epoch to the next.

    ``wanted``: tests x targets, standardised; NaN where a target was not measured. ``salt``: tells trainings of one seed apart.
    """

    def __init__(self, network: Network, ids: Sequence[Array], wanted: Array, salt: int) -> None:
        self.network, self._ids, self._wanted, self._salt = network, ids, wanted, salt
        self._steps = -(-len(ids) // BATCH)
        torch = network.torch
        head = [network.parts[name] for name in ("head.weight", "head.bias")]
        adapters = [part for name, part in network.parts.items() if not name.startswith("head.")]
        self._optimiser: Any = torch.optim.AdamW(
            [{"params": adapters, "lr": RATE}, {"params": head, "lr": HEAD_RATE}], weight_decay=0.01
        )

    def epoch(self, number: int, told: Callable[[float], None] = lambda share: None) -> None:
        """One pass over all tests, the ``number``-th (from 0). ``told`` of the share of it that is done."""
        torch, settings = self.network.torch, self.network.settings
        chance = np.random.default_rng((settings.seed, self._salt, number))
        total = self._steps * settings.epochs
        for done, rows in enumerate(self._batches(chance)):
            step = number * self._steps + done + 1
            share = min(step / max(1.0, _WARMING * total), (total - step + 1) / total)
            for group, rate in zip(self._optimiser.param_groups, (RATE, HEAD_RATE), strict=True):
                group["lr"] = rate * min(share, 1.0)
            wanted = torch.tensor(self._wanted[rows], dtype=torch.float32, device=self.network.device)
            known = ~torch.isnan(wanted)
            said = self.network.forward([self._ids[row] for row in rows])
            off = torch.nn.functional.huber_loss(said[known], wanted[known], delta=_HUBER)
            self._optimiser.zero_grad()
            off.backward()
            self._optimiser.step()
            told((done + 1) / self._steps)

    def _batches(self, chance: np.random.Generator) -> list[Array]:
        """All tests once, in batches of like lengths, the batches in an order by chance."""
        order = chance.permutation(len(self._ids))
        lengths = np.array([len(one) for one in self._ids])
        batches: list[Array] = []
        for begin in range(0, len(order), BATCH * _TOGETHER):
            part = order[begin : begin + BATCH * _TOGETHER]
            part = part[np.argsort(lengths[part], kind="stable")]
            batches += [part[at : at + BATCH] for at in range(0, len(part), BATCH)]
        return [batches[at] for at in chance.permutation(len(batches))]

    def state(self) -> dict[str, Array]:
        """All that the next epoch follows from."""
        found = {f"number.{name}": array for name, array in self.network.numbers().items()}
        for name, part in self.network.parts.items():
            for moment in _MOMENTS:
                found[f"{moment}.{name}"] = np.asarray(self._optimiser.state[part][moment].cpu().numpy(), np.float32).copy()
        return found

    def resume(self, state: dict[str, Array]) -> None:
        """Go on from a :meth:`state`."""
        torch = self.network.torch
        self.network.take({name: state[f"number.{name}"] for name in self.network.parts})
        for name, part in self.network.parts.items():
            kept = {moment: torch.tensor(np.array(state[f"{moment}.{name}"], np.float32)) for moment in _MOMENTS}
            step = kept.pop("step")  # which stays on the processor
            self._optimiser.state[part] = {"step": step} | {moment: one.to(part.device) for moment, one in kept.items()}

"""Dies of one package that show one and the same counter.

On processors of several dies the kernel registers a zone for each, and where the hardware has one counter a package, each of
them shows it: added up, 20 W become 40. They are told apart by the values that they show while they move.
"""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping, Sequence

from pytest_joules.clock import CLOCKS
from pytest_joules.model import Counters

#: Seconds to watch counters that do not move; those that tick once a millisecond are told apart in a tenth of it.
_WATCH = 0.06
#: As many values of a counter tell for good.
_ENOUGH = 8
_DIE = re.compile(r"(package-\d+)-die-\d+")


class Dies:
    """Watches the dies of each package until it is told which of them mirror another one.

    Two counters are one if most of the values that either has shown the other has shown too, at least two, when it showed them:
    at the same look or at the next that shows anything new, since one may tick between the readings of both.

    Args:
        names: of the domains, in the order of the readings
        mirrors: kept up to date: the name of each die that shows another's counter, and whose
        relative: the counters began to count at different times: compare what they have counted since the first look
    """

    def __init__(self, names: Sequence[str], mirrors: MutableMapping[str, str], *, relative: bool = False) -> None:
        packages: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            if match := _DIE.fullmatch(name):
                packages.setdefault(match[1], []).append(index)
        self._names = names
        self._mirrors = mirrors
        self._relative = relative
        self._groups = [group for group in packages.values() if len(group) > 1]
        self._base: Counters = ()
        self._shown: dict[int, dict[float, int]] = {index: {} for group in self._groups for index in group}
        """By domain, the values that were seen, and at which look first: the how manieth that showed anything new."""
        self._looks = 0
        self.watching = bool(self._groups)
        """Whether more values could change what is told."""
        mirrors.clear()

    def watch(self, read: Callable[[], Counters]) -> None:
        """Look again and again until it is told, or the counters seem to stand still."""
        until = CLOCKS.wall() + int(_WATCH * 1e9)
        while self._relative and self.watching and CLOCKS.wall() < until and (first := read()) != read():
            self._base = first  # a tick in between: not the base yet
        while self.watching and CLOCKS.wall() < until:
            self.note(read())

    def note(self, counters: Counters) -> None:
        """Take one reading into account."""
        if self._relative and not self._base:
            self._base = counters
        news = False
        for index, shown in self._shown.items():
            value, base = counters[index], self._base[index] if self._relative else 0
            if value is not None and base is not None and value - base not in shown:
                shown[value - base] = self._looks
                news = True
        if news:
            self._looks += 1
            self._tell()

    def _tell(self) -> None:
        self._mirrors.clear()
        for group in self._groups:
            apart: list[int] = []
            for index in group:
                twin = next((other for other in apart if self._alike(index, other)), None)
                if twin is None:
                    apart.append(index)
                else:
                    self._mirrors[self._names[index]] = self._names[twin]
        self.watching = any(max(len(self._shown[index]) for index in group) < _ENOUGH for group in self._groups)

    def _alike(self, one: int, other: int) -> bool:
        first, second = self._shown[one], self._shown[other]
        common = sum(abs(first[value] - second[value]) <= 1 for value in first.keys() & second.keys())
        return common > 1 and 2 * common > min(len(first), len(second))

"""The space that is searched: what a predictor looks at, how it learns, and whether measured tests move it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from pytest_joules.files.checked import Bad, count, list_of, one_of, optional, required, shown
from pytest_joules.language_model.settings import BOUNDS
from pytest_joules.predict.choices import LANGUAGE_MODEL
from pytest_joules.predict.level.regressors import KINDS, Additive, Boosted, Constant, Linear, Words
from pytest_joules.predict.train.level import MEASURED


class Growth(NamedTuple):
    """Of boosted trees."""

    trees: int
    depth: int


#: What models look at that know nothing of a run, and of one counted run.
_STATIC = (("text",), ("source",), ("ast",), ("ast", "bytecode"))
_RAN = (("counts",), ("bytecode",), ("ast", "bytecode"))
#: How trees are grown, from cheap to dear.
_SMALL, _MIDDLE, _LARGE = Growth(20, 3), Growth(60, 4), Growth(150, 6)
#: By what is looked at, the growths that are tried: of thousands of words, a large one takes minutes and gains nothing.
_GROWTHS = {"counts": (_SMALL, _MIDDLE, _LARGE), "text": (_SMALL,), "source": (_SMALL,)}
_WORDS = ("text", "source")
#: Options that a configuration may have, by kind, with the least and the most of each that makes sense.
_LANGUAGE = {name: bounds for name, bounds in BOUNDS.items() if name != "seed"}
_OPTIONS = {Boosted.kind: {"trees": (1, 2000), "depth": (1, 20)}, LANGUAGE_MODEL: _LANGUAGE}


@dataclass(frozen=True, slots=True)
class Configuration:
    """One point of the space."""

    kind: str
    """Of the model: a level model's, or that of another family."""
    representations: tuple[str, ...]
    ran: bool
    """It looks at the counts of one past run."""
    adapted: bool = False
    """Measured tests of the project move it."""
    options: tuple[tuple[str, int], ...] = ()
    """By name, in the order of their names: ``trees``, ``depth``."""
    teacher: Configuration | None = None
    """Whose predictions of unlabelled code it learned from, too."""

    @property
    def text(self) -> str:
        """Says all of it, each configuration another way: ``boosted depth=6 trees=150 on ast+bytecode, ran, +20``."""
        words = " ".join((self.kind, *(f"{name}={value}" for name, value in self.options)))
        parts = [f"{words} on {self.looks}", "ran" if self.ran else "static"]
        parts += [f"+{MEASURED}"] if self.adapted else []
        return ", ".join(parts) + (f"; taught by {self.teacher.text}" if self.teacher is not None else "")

    @property
    def label(self) -> str:
        """The same, short, for a table."""
        if self.kind == Constant.kind:
            return "constant"
        size = "x".join(str(value) for _, value in sorted(self.options, reverse=True))
        words = [
            "taught" if self.teacher is not None else "",
            "trees" if self.kind == Boosted.kind else self.kind,
            size,
            self.looks,
        ]
        # What is counted was counted in a run.
        words += ["ran" if self.ran and not {"calls", "counts"} & {*self.representations} else ""]
        return " ".join(filter(None, (*words, f"+{MEASURED}" if self.adapted else "")))

    @property
    def looks(self) -> str:
        """The representations in one word."""
        return "+".join(self.representations)

    @property
    def given(self) -> dict[str, int]:
        """The options."""
        return dict(self.options)

    @property
    def growth(self) -> Growth:
        """Of its trees."""
        return Growth(**self.given) if self.kind == Boosted.kind else _LARGE

    @property
    def unit(self) -> Configuration:
        """What is fitted: moving it by measured tests needs no other fit."""
        return replace(self, adapted=False)

    @property
    def rivals(self) -> object:
        """It competes with those of which this is the same: they cost about as much, as they look at the same."""
        return self.kind if self.kind not in KINDS else (self.ran, self.representations)

    def as_record(self) -> dict[str, object]:
        """For JSON."""
        return {
            "text": self.text,
            "kind": self.kind,
            "representations": list(self.representations),
            "ran": self.ran,
            "adapted": self.adapted,
            "options": self.given,
            "teacher": self.teacher.as_record() if self.teacher is not None else None,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, object], *, taught: bool = False) -> Configuration:
        """From JSON.

        Raises:
            Bad: it is none.
        """
        from pytest_joules.predict.facts.features import REPRESENTATIONS

        representations = tuple(list_of(record, "representations", str))
        for name in representations:
            one_of({"representations": name}, "representations", *REPRESENTATIONS)
        kind, options = one_of(record, "kind", *KINDS, LANGUAGE_MODEL), optional(record, "options", dict, {})
        bounds = _OPTIONS.get(kind, {})
        if set(options) != set(bounds) or not representations:
            raise Bad(f"a {kind} model cannot have the options {sorted(options)} and look at {shown(representations)}")
        for name, (least, most) in bounds.items():
            if count(options, name, least) > most:
                raise Bad(f"{name!r} is {options[name]}, and {most} at most makes sense")
        teacher = optional(record, "teacher", dict)
        if taught and teacher is not None:
            raise Bad("a teacher has a teacher")
        found = cls(
            kind,
            representations,
            required(record, "ran", bool),
            required(record, "adapted", bool),
            tuple(sorted(options.items())),
            cls.from_record(teacher, taught=True) if teacher is not None else None,
        )
        if required(record, "text", str) != found.text:
            raise Bad(f"'text' is not what the other keys say: {found.text}")
        return found


#: Always searched, always measured: what everything else must beat.
CONSTANT = Configuration(Constant.kind, ("calls",), ran=True)
CALLS = Configuration(Linear.kind, ("calls",), ran=True)


def boosted(representations: tuple[str, ...], growth: Growth, *, ran: bool) -> Configuration:
    """Trees of this growth."""
    options = (("depth", growth.depth), ("trees", growth.trees))
    return Configuration(Boosted.kind, representations, ran, options=options)


def space() -> list[Configuration]:
    """All that is searched of the level models, what they are compared with and the cheap ones first; without calibrations, as
    each is tried as it is and moved by measured tests."""
    found = [CONSTANT, CALLS]
    for names, ran in [*((names, True) for names in _RAN), *((names, False) for names in _STATIC)]:
        found.append(Configuration(Linear.kind, names, ran))
        if names[0] in _WORDS:
            found.append(Configuration(Words.kind, names, ran))
        if names in (("counts",), ("bytecode",)):
            found.append(Configuration(Additive.kind, names, ran))
        found += [boosted(names, growth, ran=ran) for growth in _GROWTHS.get(names[0], (_MIDDLE, _LARGE))]
    return found

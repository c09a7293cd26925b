"""What a run has to say at its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Messages:
    """Sentences, each once, whichever process found it."""

    remarks: list[str] = field(default_factory=list)
    """Said unless ``-q``."""
    troubles: list[str] = field(default_factory=list)
    """What went wrong: said even with ``-q``."""
    unwritten: list[str] = field(default_factory=list)
    """Of what went wrong: reports and baselines that were asked for and are not there."""

    def remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)

    def add_notices(self, notices: Iterable[str]) -> None:
        """What went wrong in reading or judging."""
        self.troubles += [text for text in dict.fromkeys(notices) if text not in self.troubles]

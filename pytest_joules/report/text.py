"""Text that fits a terminal: widths counted as pytest counts them, characters that its encoding has, sentences wrapped."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

#: What an encoding without these characters gets instead.
_ASCII = str.maketrans({"µ": "u", "±": "+-", "…": "~", "×": "x", "–": "-"})


@lru_cache(maxsize=1024)
def _character_width(character: str) -> int:
    if character.isascii():
        return 1
    if character in "\u200c\u200d" or unicodedata.category(character) in ("Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "FW" else 1


def display_width(text: str) -> int:
    """How many columns a terminal needs for a printable text, counted as pytest counts them."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def encodable(text: str, encoding: str) -> str:
    """The text in characters that the encoding has: its nearest ones, or backslash escapes."""
    try:
        text.encode(encoding)
    except LookupError:
        encoding = "ascii"
    except UnicodeEncodeError:
        pass
    else:
        return text
    return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text on one line: composed, with control characters, lone surrogates and the like escaped."""
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", text)
        text = "".join(
            character
            if character.isprintable() or character in "\u200c\u200d"
            else character.encode("unicode-escape").decode("ascii")
            for character in text
        )
    return encodable(text, encoding)


def shorten_nodeid(nodeid: str, width: int) -> str:
    """A node id in at most ``width`` columns: the directories go first, then the file's head, then the middle of the test."""
    if display_width(nodeid) <= width:
        return nodeid
    path, colons, test = nodeid.partition("::")
    room = width - 1 - display_width(colons + test)
    if not colons or room < 0:
        return _shorten_middle(test or path, width)
    return "…" + _tail(path, room) + colons + test


def shorten_end(text: str, width: int) -> str:
    """A text in at most ``width`` columns, its end left out."""
    if display_width(text) <= width:
        return text
    return _head(text, width - 1) + "…" if width > 0 else ""


def _shorten_middle(text: str, width: int) -> str:
    if display_width(text) <= width:
        return text
    if width < 1:
        return ""
    tail = (width - 1) // 2
    return _head(text, width - 1 - tail) + "…" + _tail(text, tail)


def _head(text: str, width: int) -> str:
    used = 0
    for place, character in enumerate(text):
        used += _character_width(character)
        if used > width:
            return text[:place]
    return text


def _tail(text: str, width: int) -> str:
    used = 0
    for place in range(len(text) - 1, -1, -1):
        used += _character_width(text[place])
        if used > width:
            return text[place + 1 :]
    return text


def sentence(text: str, width: int, encoding: str) -> list[str]:
    """A sentence wrapped at spaces; a word wider than the terminal is broken."""
    indent = "  " if width >= 20 else ""
    result: list[str] = []
    line = ""
    for word in printable(text, encoding).split(" "):
        rest = word
        while True:
            joined = f"{line} {rest}" if line.strip() else line + rest
            if display_width(joined) <= width:
                line = joined
                break
            if line.strip():
                result.append(line)
                line = indent
            else:
                part = _head(rest, width - display_width(line)) or rest[0]
                result.append(line + part)
                line, rest = indent, rest[len(part) :]
    result.append(line)
    return result

"""Text that fits a terminal: widths counted as pytest counts them, characters that its encoding has, sentences wrapped."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TextIO

#: A space that a line does not end at.
_SPACE = "\ue000"

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


def encoding_of(stream: TextIO) -> str:
    """That of what is written to; a stream that somebody put in the place of another may have none."""
    return getattr(stream, "encoding", None) or "utf-8"


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
    # One by one: what the encoding has keeps its width.
    return "".join(_nearest(character, encoding) for character in text)


@lru_cache(maxsize=1024)
def _nearest(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return character.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return character


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text on one line: composed, with control characters, lone surrogates and the like escaped."""
    if not (text.isascii() and text.isprintable()):
        text = escaped(unicodedata.normalize("NFC", text))
    return encodable(text, encoding)


def escaped(text: str) -> str:
    """The text with control characters, line breaks, lone surrogates and the like as Python writes them."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in "\u200c\u200d"
        else character.encode("unicode-escape").decode("ascii")
        for character in text
    )


def whole(text: str) -> str:
    """A part of a :func:`sentence` that is not to be wrapped at its own spaces, such as a node id."""
    return text.replace(" ", _SPACE)


def last_part(nodeid: str) -> str:
    """What names a test in its file or class, with its parameters, which may hold anything: ``test_x[a::b]``."""
    _, colons, test = nodeid.partition("::")
    if not colons:
        return nodeid.rpartition("/")[2]
    name = test.partition("[")[0]
    return test[name.rfind("::") + 2 :] if "::" in name else test


def shorten_nodeid(nodeid: str, width: int) -> str:
    """A node id in at most ``width`` columns: what names the test stays whole, unless it alone is too wide."""
    if display_width(nodeid) <= width:
        return nodeid
    last = last_part(nodeid)
    room = width - 1 - display_width(last)
    if room < -1:
        return _shorten_middle(last, width)
    head = _tail(nodeid[: len(nodeid) - len(last)], room)
    # A colon or two alone tell nothing, and what is left can be pasted.
    return f"…{head}{last}" if len(head) > 2 else last


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


def sentence(text: str, width: int, encoding: str, *, broken: bool = True) -> list[str]:
    """A sentence wrapped at spaces. A node id wider than the terminal is shortened, any other such word broken, or with
    ``broken=False`` left whole: a path or a command that somebody is to copy."""
    indent = "  " if width >= 20 else ""
    result: list[str] = []
    line = ""
    for word in text.split(" "):
        rest = printable(word.replace(_SPACE, " "), encoding)
        if "::" in rest and len(rest) > width // 2:
            rest = encodable(shorten_nodeid(rest, width - len(indent)), encoding)
        while True:
            joined = f"{line} {rest}" if line.strip() else line + rest
            if display_width(joined) <= width or not (line.strip() or broken):
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

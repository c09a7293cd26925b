"""The words of a source text and how often each occurs: names, operators, sizes of numbers and of texts."""

from __future__ import annotations

import io
import re
import token
import tokenize
from collections import Counter
from collections.abc import Iterator

from pytest_joules.predict.facts.parsed import UNREADABLE, body_of, magnitude, nested

_LAYOUT = frozenset(
    (token.NEWLINE, token.NL, token.INDENT, token.DEDENT, token.COMMENT, token.ENCODING, token.ENDMARKER, token.TYPE_COMMENT)
)
#: From Python 3.12 on, texts with values in them come in pieces, from 3.14 on also templates.
_OPENS = {
    getattr(token, f"{kind}STRING_START"): word
    for kind, word in (("F", "text:f"), ("T", "text:t"))
    if hasattr(token, f"{kind}STRING_START")
}
_CLOSES = frozenset(getattr(token, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(token, name))
_PREFIX = re.compile(r"^[A-Za-z]*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def tokens(source: str) -> dict[str, float]:
    """By word, how often it occurs; comments, layout, texts that stand alone and functions inside left out. ``{}`` for a source
    that does not parse."""
    body = body_of(source)
    if body is None:
        return {}
    left_out: set[int] = set()
    for node in nested(body):
        left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    try:
        return dict(Counter(_words(source, left_out)))
    except (tokenize.TokenError, *UNREADABLE):
        return {}


def _words(source: str, left_out: set[int]) -> Iterator[str]:
    depth, alone, waiting = 0, True, ""
    for kind, text, (line, _), _, _ in tokenize.generate_tokens(io.StringIO(source).readline):
        if kind in _CLOSES:
            depth -= 1
        elif kind in _OPENS:
            depth += 1
            if depth == 1 and line not in left_out:
                yield _OPENS[kind]
                alone = False
        elif depth or line in left_out:
            continue
        elif kind in _LAYOUT:
            if kind in (token.NEWLINE, token.ENDMARKER):
                alone, waiting = True, ""  # what waited was a docstring
            continue
        else:
            if waiting:
                yield waiting
                waiting = ""
            word = _word(kind, text)
            if alone and kind == token.STRING:
                waiting = word
            else:
                yield word
            alone = False


def _word(kind: int, text: str) -> str:
    if kind == token.NUMBER:
        return f"num:{magnitude(_value(text))}"
    if kind == token.STRING:
        prefix = _PREFIX.match(text)
        letters = prefix.group().lower() if prefix is not None else ""
        for letter in ("f", "t"):
            if letter in letters:
                return f"text:{letter}"
        quotes = 6 if text.endswith(('"""', "'''")) and len(text) >= len(letters) + 6 else 2
        return f"text:{magnitude(len(text) - len(letters) - quotes)}"
    return text


def _value(text: str) -> float:
    text = text.lower().replace("_", "").removesuffix("j")
    try:
        return float(int(text, 0)) if text.startswith(("0x", "0o", "0b")) else float(text)
    except (ValueError, OverflowError):
        return float("inf")


def parameter_words(parameters: str) -> dict[str, float]:
    """The same for what stands in the brackets of a node id."""
    if not parameters:
        return {}
    found = Counter(f"num:{magnitude(value)}" for value in numbers(parameters))
    found.update(word for word in re.split(r"[^A-Za-z_]+", parameters) if word)
    return dict(found)


def numbers(parameters: str) -> list[float]:
    """The numbers in the brackets of a node id; a hyphen between two values is no sign."""
    return [_value(text.lstrip("-")) for text in _NUMBER.findall(parameters)]

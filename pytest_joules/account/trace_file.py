"""The events of a trace file one by one, however large it is: Chrome's format, plain or compressed.

An object with ``traceEvents``, or a bare list. What else the object says is kept as :attr:`TraceFile.facts`.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from pytest_joules.files import reading

#: Of text, that a file may have (bytes), and that one event or one fact may take (characters).
MOST_BYTES, MOST_EACH = 4 * 2**30, 32 * 2**20
_STEP = 2**20
_SPACE = re.compile(r"[ \t\r\n]*")
_BETWEEN = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=\{)")
_EVENTS = "traceEvents"


class TraceError(ValueError):
    """A trace, or what goes with it, cannot be used; the message names the file, what is wrong and what to do."""


class TraceFile:
    """Read once, from front to end: first :meth:`events`, then :attr:`facts`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._texts = self._decoded()
        self._buffer, self._at, self._gone, self._ended = "", 0, 0, False
        self._scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # as raw_decode
        self.facts: dict[str, Any] = {}
        """What the file says beside its events, by key; whole when all events have been read."""

    def wrong(self, why: str, remedy: str = "Let the profiler write it again.") -> TraceError:
        return TraceError(f"{self._path}: {why}. {remedy}")

    def events(self) -> Iterator[dict[str, Any]]:
        """Each event, as it stands there.

        Raises:
            TraceError: the file is not there, cannot be read, is not whole, is no JSON or no trace.
        """
        first = self._next()
        if first == "[":
            yield from self._list()
        elif first == "{":
            yield from self._object()
        else:
            said = "it is empty" if not first else f"it is no JSON: it begins with {first!r}"
            raise self.wrong(said, "Name a trace as torch, TensorFlow, JAX or VizTracer write it (.json, .json.gz).")
        if self._next():
            raise self.wrong(f"something follows behind its end (character {self._place()})")

    def _object(self) -> Iterator[dict[str, Any]]:
        found = False
        self._at += 1
        while (mark := self._next()) != "}":
            if mark == ",":
                self._at += 1
                continue
            key = self._value()
            if not isinstance(key, str) or self._next() != ":":
                raise self._no_json()
            self._at += 1
            if key == _EVENTS and self._next() == "[":
                found = True
                yield from self._list()
            else:
                self._next()
                self.facts[key] = self._value()
        self._at += 1
        if not found:
            raise self.wrong(
                "it has no traceEvents, so it is no trace", "Name the trace itself, not another output of the profiler."
            )

    def _list(self) -> Iterator[dict[str, Any]]:
        self._at += 1
        scan, between = self._scan, _BETWEEN.match
        while (mark := self._next()) != "]":
            if mark == ",":
                self._at += 1
                continue
            event = self._value()
            while True:  # as long as whole events stand in the buffer
                if not isinstance(event, dict):
                    raise self.wrong(f"an entry of its events is {str(event)[:40]!r}, not an event (character {self._place()})")
                yield event
                if (comma := between(self._buffer, self._at)) is None:
                    break
                try:
                    event, self._at = scan(self._buffer, comma.end())
                except (StopIteration, ValueError, RecursionError):
                    break
        self._at += 1

    def _next(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            self._at = _SPACE.match(self._buffer, self._at).end()  # type: ignore[union-attr]  # it matches always
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _value(self) -> object:
        """The value that begins here."""
        while True:
            try:
                value, end = self._scan(self._buffer, self._at)
            except (StopIteration, ValueError):
                pass
            except RecursionError:
                raise self.wrong(f"it has too many brackets in brackets (character {self._place()})") from None
            else:
                # A number at the end of what is read may go on.
                if end < len(self._buffer) or self._ended:
                    self._at = end
                    return value
            # Twice as much each time, so that a long value is not read again and again.
            wanted = max(_STEP, 2 * (len(self._buffer) - self._at))
            if self._ended or wanted > 2 * MOST_EACH:
                raise self._no_json()
            while len(self._buffer) - self._at < wanted and self._more():
                pass

    def _no_json(self) -> TraceError:
        try:
            json.JSONDecoder().raw_decode(self._buffer, self._at)
        except json.JSONDecodeError as error:
            if not self._buffer[error.pos :].strip() or error.msg.startswith("Unterminated"):
                return self.wrong("it ends in the middle: it is not whole")
        except RecursionError:
            pass
        shown = self._buffer[self._at : self._at + 30]
        return self.wrong(f"it is no JSON from character {self._place()} on: {shown!r}")

    def _place(self) -> int:
        return self._gone + self._at

    def _more(self) -> bool:
        """Read on; what has been used is dropped. Whether there was more."""
        text = next(self._texts, None)
        if text is None:
            self._ended = True
            return False
        self._gone += self._at
        self._buffer, self._at = self._buffer[self._at :] + text, 0
        return True

    def _decoded(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        for chunk in self._plain():
            yield decoder.decode(chunk)

    def _plain(self) -> Iterator[bytes]:
        try:
            chunks = reading.chunks(self._path, MOST_BYTES)
            first = next(chunks, b"")
            if first[:2] != b"\x1f\x8b":
                yield first
                yield from chunks
                return
            yield from self._inflated(first, chunks)
        except FileNotFoundError:
            raise self.wrong("there is no such file", "Name a trace that a profiler wrote.") from None
        except OSError as error:
            raise self.wrong(f"it cannot be read ({error.strerror or error})", "Name a trace that a profiler wrote.") from None

    def _inflated(self, first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
        size, unpacked = 0, zlib.decompressobj(wbits=31)
        data: bytes | None = first
        try:
            while data is not None:
                while data:
                    text = unpacked.decompress(data, _STEP)
                    size += len(text)
                    if size > MOST_BYTES:
                        raise self.wrong(f"it has more than {MOST_BYTES // 2**30} GiB unpacked", "Trace fewer steps.")
                    yield text
                    data = unpacked.unconsumed_tail
                    if unpacked.eof:  # one compressed part may follow another
                        data = unpacked.unused_data
                        if data:
                            unpacked = zlib.decompressobj(wbits=31)
                    elif not text and not data:
                        break
                data = next(chunks, None)
                if data and unpacked.eof:
                    unpacked = zlib.decompressobj(wbits=31)
        except zlib.error as error:
            raise self.wrong(
                f"its compression is damaged ({error})", "Copy it again, or let the profiler write it again."
            ) from None
        if not unpacked.eof:
            raise self.wrong("it ends in the middle of its compression: it is not whole")

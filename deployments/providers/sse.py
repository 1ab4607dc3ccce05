"""Parses server-sent events."""

from __future__ import annotations

from collections.abc import Iterator


class EventStream:
    """Parses one stream into the data of its events, as the HTML standard says. Other fields are dropped: the APIs that
    are read here repeat in the data what `event:` says.

    A stream that ends without its last blank line loses nothing. Data stays bytes, so that a character may be split
    between two pieces, and the work is linear in the stream's length.
    """

    def __init__(self) -> None:
        self._unfinished: list[bytes] = []
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yields the data of the events that this piece completes."""
        self._unfinished.append(piece)
        if b"\n" not in piece and b"\r" not in piece and not self._unfinished[0].endswith(b"\r"):
            return
        lines = b"".join(self._unfinished).splitlines(keepends=True)
        # A carriage return at the end may be half of a line ending.
        self._unfinished = [lines.pop()] if lines and not lines[-1].endswith(b"\n") else []
        for line in lines:
            yield from self._read(line.rstrip(b"\r\n"))

    def close(self) -> Iterator[bytes]:
        """Yields the data of the event that the end of the stream completes."""
        yield from self._read(b"".join(self._unfinished).rstrip(b"\r\n"))
        self._unfinished = []
        yield from self._read(b"")

    def _read(self, line: bytes) -> Iterator[bytes]:
        if not line:
            if self._data:
                yield b"\n".join(self._data)
                self._data = []
            return
        name, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))

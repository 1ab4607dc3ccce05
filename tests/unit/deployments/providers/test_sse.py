"""Server-sent events in whatever pieces they arrive."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.providers.sse import EventStream


def events(*pieces: bytes) -> list[bytes]:
    stream = EventStream()
    return [data for piece in pieces for data in stream.feed(piece)] + list(stream.close())


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a \n\n", [b" a "]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b": a comment\n\n:\n\ndata: a\n\n", [b"a"]),
        (b"event: ping\nid: 7\nretry: 10\ndata: a\n\n", [b"a"]),
        (b"event: ping\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: a", [b"a"]),
        (b"data: a\n", [b"a"]),
        (b"data: a\r", [b"a"]),
        (b"data\n\n", [b""]),
        (b"database: a\n\nnonsense\n\n", []),
        ("data: \u2028\x85\x0b\n\n".encode(), ["\u2028\x85\x0b".encode()]),
        (b"", []),
    ],
)
def test_streams(stream: bytes, expected: list[bytes]) -> None:
    assert events(stream) == expected
    assert events(*(stream[i : i + 1] for i in range(len(stream)))) == expected


@given(st.data(), st.lists(st.sampled_from([b'data: {"a": 1}', b"data: \xf0\x9f\x8c\x8d", b": x", b"event: e", b""])))
def test_how_it_is_cut_does_not_matter(data: st.DataObject, lines: list[bytes]) -> None:
    ends = [data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"])) for _ in lines]
    stream = b"".join(line + end for line, end in zip(lines, ends, strict=True))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert events(*pieces) == events(stream)


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_nothing_breaks_it(pieces: list[bytes]) -> None:
    events(*pieces)


def test_a_long_line_is_put_together_once() -> None:
    piece = b"x" * 16_384
    stream = EventStream()
    began_at = time.process_time()
    for _ in range(4_000):
        assert not list(stream.feed(piece))
    (data,) = [*stream.feed(b"\n"), *EventStream().feed(b"data: y\n\n")]
    assert data == b"y"
    assert time.process_time() - began_at < 5.0  # joined at every piece it takes half a minute

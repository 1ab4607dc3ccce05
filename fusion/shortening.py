"""Making long texts fit together: who gives up how much, and what of each is left."""

from __future__ import annotations

from collections.abc import Sequence

from fusion.text.sanitize import MARK

_HEAD = 2 / 3  # of what is left: how an answer begins says more of it than how it ends
_NEAR = 0.8  # of a piece must be left for it to end at a line or a word


def fair_level(sizes: Sequence[int], room: int) -> int:
    """The most that each may have so that all together have no more than `room`.

    This is max-min fair (water-filling, Bertsekas and Gallager 1987): what is smaller stays whole, everything larger
    comes down to the same level, and nobody could have more but at the cost of one who has no more than that. The order
    of the sizes does not matter.
    """
    left, waiting = room, len(sizes)
    for size in sorted(sizes):
        if size * waiting > left:
            return max(0, left // waiting)
        left -= size
        waiting -= 1
    return max(sizes, default=0)


def shortened(text: str, keep_chars: int, note: str) -> str:
    """The beginning and the end of a text, with the note on a line of its own between them: no more than so many
    characters, or nothing but the note.

    Both pieces end at a line where there is one near, or else at a word. A line of a judged answer keeps its mark.
    """
    if len(text) <= keep_chars:
        return text
    left = max(0, keep_chars - len(note) - len(MARK) - 2)
    head = _until_boundary(text[: int(left * _HEAD)])
    tail = text[len(text) - (left - int(left * _HEAD)) :]
    tail = _until_boundary(tail[::-1])[::-1]
    begins = len(text) - len(tail)
    line_begins = text.rfind("\n", 0, begins) + 1
    if begins > line_begins and text.startswith(MARK, line_begins):
        tail = MARK + tail
    return "\n".join([*([head.rstrip("\n")] if head else []), note, *([tail.lstrip("\n")] if tail else [])])


def _until_boundary(piece: str) -> str:
    for boundary in ("\n", " "):
        end = piece.rfind(boundary)
        if end >= len(piece) * _NEAR:
            return piece[:end]
    return piece

"""Blocks that an answer may take over from its candidates byte for byte: code, tables, quotations, maths, citations.

A model that merges writes all of it anew, token by token, and now and then changes what it meant to copy. So before
each block that it is shown stands a reference, such as `[[A1-3f9c]]`, which it can write in the block's place; and a
block that it copies is told by its lines (`fusion/verbatim/restorer.py`). The reference's end is drawn for each
request, so that no candidate can name a block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fusion.results import BlockKind
from fusion.text.sanitize import disarmed, hides_something
from fusion.text.scanner import Span, is_alone, spans

INLINE_MIN_CHARS = 32
"""From which length on a formula, a link or an address inside of a line has a reference."""


MAX_BLOCKS = 64
"""How many blocks of one candidate can be taken over; those that come first."""


GROWING: Mapping[BlockKind, str] = {"table": "|", "quote": ">"}
"""Blocks that end where a line does not begin with this mark."""


_SIGNS = ("```", "~~~", "$$", "\\", "://", "doi:", "[@", "[^")


_LINE_SIGNS = ("|", ">", "[")


_CITED_LINE = re.compile(r"^(?P<indent>[ \t]*)\[\^?[^\[\]\s]{1,32}\]:?[ \t]+\S[^\n]*$", re.MULTILINE)


_CELL = re.compile(r"\s*\|\s*")


_RULE = re.compile(r"-{2,}")


_TYPOGRAPHY = str.maketrans("\u2018\u2019\u201a\u201c\u201d\u201e\u00a0", "'''\"\"\" ")


@dataclass(frozen=True)
class Block:
    """One block as its candidates wrote it, without the blanks before it (`indent`), and as the judge model is shown
    it. `members` are those that wrote it, in order of trust. `inline`: it stands inside of a line."""

    kind: BlockKind
    text: str
    shown: str
    indent: str
    inline: bool
    members: tuple[str, ...]

    def at(self, indent: str) -> str:
        """The block after these blanks: byte for byte where they are its own, else each of its lines moved with it,
        which leaves a code block's content as it is."""
        if indent == self.indent or "\n" not in self.text:
            return self.text
        first, *others = self.text.split("\n")
        moved = (indent + outdented(line, self.indent) if line.strip() else line for line in others)
        return "\n".join([first, *moved])

    @property
    def inside(self) -> Block:
        """What stands between a code block's fences."""
        if self.kind != "code":
            return self
        lines = self.text.split("\n")[1:-1]
        if lines:
            lines[0] = outdented(lines[0], self.indent)
        return replace(self, text="\n".join(lines))

    @cached_property
    def rows(self) -> tuple[tuple[frozenset[str], str], ...]:
        """For each line what a copy of it can look like, and what that is without blanks."""
        raw, shown = (self._outdented_lines(text) for text in (self.text, self.shown))
        return tuple(
            (frozenset([*_forms(self.kind, written), *_forms(self.kind, seen)]), squeezed(written))
            for written, seen in zip(raw, shown, strict=True)
        )

    def _outdented_lines(self, text: str) -> list[str]:
        first, *others = text.split("\n")
        return [first, *(outdented(line, self.indent) for line in others)]

    def may_have(self, row: int, beginning: str) -> bool:
        """Whether a line of a copy can begin like this."""
        return row < len(self.rows) and any(
            self.rows[row][1].startswith(squeezed(text)) for text in (beginning, beginning.translate(_TYPOGRAPHY))
        )

    def has(self, row: int, line: str) -> bool:
        """Whether a copy has this line: the same, but for blanks at its end and tabs made spaces; in tables and maths
        blanks anywhere; and typographic quotation marks where the block has plain ones."""
        return row < len(self.rows) and any(
            normal(self.kind, text) in self.rows[row][0] for text in (line, line.translate(_TYPOGRAPHY))
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """A candidate that a judge model is shown under a label."""

    label: str
    member: str
    text: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What a judge model may take over: blocks by their references, those of the most trusted members first, and the
    drafts as it is shown them, by their members. `nonce` is how each reference ends."""

    blocks: Mapping[str, Block]
    shown: Mapping[str, str]
    nonce: str

    @property
    def lines(self) -> Iterator[Block]:
        """Those that have their lines to themselves."""
        return (block for block in self.blocks.values() if not block.inline)


def offered(drafts: Sequence[Draft], fence: str, others: Sequence[str], trust: Sequence[str]) -> Offer | None:
    """The blocks of the drafts, None when there are none. The references' end is a part of the fence that occurs
    neither in a draft nor in the `others`, the conversation's texts."""
    found = [(draft, _found_in(draft.text)) for draft in drafts]
    if not any(blocks for _, blocks in found):
        return None
    texts = [*(draft.text for draft in drafts), *others]
    nonces = (fence[start : start + 4] for start in range(len(fence) - 3))
    nonce = next((nonce for nonce in nonces if not any(f"-{nonce}]]" in text for text in texts)), fence)
    blocks: dict[str, Block] = {}
    references: dict[tuple[object, ...], str] = {}
    shown: dict[str, str] = {}
    for draft, found_in in found:
        text, pieces, position = disarmed(draft.text), list[str](), 0
        for number, (start, block) in enumerate(found_in, 1):
            same = (block.kind, block.inline, block.at(""))
            reference = references.setdefault(same, f"[[{draft.label}{number}-{nonce}]]")
            known = blocks.get(reference, block)
            members = {*known.members, draft.member}
            blocks[reference] = replace(known, members=tuple(sorted(members, key=trust.index)))
            own_line = "" if block.inline else f"\n{block.indent}"
            pieces += [text[position:start], reference, own_line]
            position = start
        shown[draft.member] = "".join([*pieces, text[position:]])
    ordered = sorted(blocks.items(), key=lambda item: trust.index(item[1].members[0]))
    return Offer(dict(ordered), shown, nonce)


def outdented(line: str, indent: str) -> str:
    """The line without as many of its blanks as the indent has."""
    blanks = len(line) - len(line.lstrip(" \t"))
    return line[min(blanks, len(indent)) :]


def squeezed(line: str) -> str:
    """A line without what copying may change: blanks, and how long a table's rule is."""
    return _RULE.sub("-", "".join(line.split()))


def normal(kind: BlockKind, line: str) -> str:
    """A line but for blanks that do not matter in a block of this kind."""
    if kind == "code":
        return line.rstrip()
    line = " ".join(line.split())
    return _RULE.sub("-", _CELL.sub("|", line)) if kind == "table" else line


def _forms(kind: BlockKind, line: str) -> Iterator[str]:
    """The normal forms of a line's copies: those who write tabs as spaces take two, four or eight."""
    yield normal(kind, line)
    if kind == "code" and "\t" in line:
        body = line.lstrip(" \t")
        for width in (2, 4, 8):
            yield normal(kind, line[: len(line) - len(body)].expandtabs(width) + body)


def _found_in(text: str) -> list[tuple[int, Block]]:
    """The blocks of a draft, each with where it begins in the draft as it is shown. What a judge model would not see is
    not to come into its answer, so blocks that hide something are left out, and all of a draft whose blocks are others
    when it is shown."""
    if not _may_have_blocks(text):
        return []
    shown = disarmed(text)
    written = list(_places(text))
    seen = written if shown == text else list(_places(shown))
    if len(seen) != len(written):
        return []
    found: list[tuple[int, Block]] = []
    for place, place_shown in zip(written, seen, strict=True):
        raw, as_shown = text[place.start : place.end], shown[place_shown.start : place_shown.end]
        line = text.rfind("\n", 0, place.start) + 1
        indent = "" if place.inline else text[line : place.start]
        if not hides_something(raw) and disarmed(raw) == as_shown:
            found.append((place_shown.start, Block(place.kind, raw, as_shown, indent, place.inline, ())))
    return found[:MAX_BLOCKS]


def _may_have_blocks(text: str) -> bool:
    """Told in little time, for most texts have none."""
    if any(sign in text for sign in _SIGNS) or text.count("$") > 1:
        return True
    return any(line.lstrip(" \t").startswith(_LINE_SIGNS) for line in text.split("\n"))


@dataclass(frozen=True, slots=True)
class _Place:
    kind: BlockKind
    start: int
    end: int
    inline: bool


def _places(text: str) -> Iterator[_Place]:
    """Where the blocks are, in order, none within another."""
    cited = (_Place("citation", match.end("indent"), match.end(), False) for match in _CITED_LINE.finditer(text))
    line = next(cited, None)
    end = 0
    for span in spans(text):
        while line and line.end <= span.start:
            if line.start >= end:
                yield line
                end = line.end
            line = next(cited, None)
        place = _place(text, span)
        if line and line.start <= span.start < line.end and (place is None or place.inline):
            continue
        if place and place.start >= end:
            yield place
            end = place.end
        elif span.kind in ("code", "table", "quote"):
            end = max(end, span.end or 0)
    while line:
        if line.start >= end:
            yield line
        line = next(cited, None)


def _place(text: str, span: Span) -> _Place | None:
    """The block that a span is, None where it is none to take over."""
    start, end = span.start, len(text) if span.end is None else span.end
    if span.kind in ("code", "table", "quote"):
        block = text[start:end]
        start += len(block) - len(block.lstrip(" \t"))
        end -= len(block) - len(block.rstrip("\r"))
        return _Place(span.kind, start, end, False) if span.kind != "code" or _is_closed(text[start:end]) else None
    if span.kind == "maths" and text.startswith(("$$", "\\["), start) and is_alone(text, start, end):
        return _Place("maths", start, end, False)
    if span.kind == "citation" and text.startswith("](", start - 2) and text[end : end + 1] == ")":
        opening = text.rfind("[", text.rfind("\n", 0, start) + 1, start - 2)
        if opening >= 0 and "]" not in text[opening : start - 2]:
            start, end = opening, end + 1
    is_long = end - start >= INLINE_MIN_CHARS and "\n" not in text[start:end]
    return _Place(span.kind, start, end, True) if is_long and span.kind != "inline_code" else None


def _is_closed(code: str) -> bool:
    """Whether a code block has a last fence."""
    fence = code[: len(code) - len(code.lstrip(code[0]))]
    last = code.rsplit("\n", 1)[-1].strip()
    return "\n" in code and last.startswith(fence) and not last.strip(code[0])

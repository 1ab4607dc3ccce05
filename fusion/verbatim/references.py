"""The references that stand before blocks which a merge may take over byte for byte: code, tables, quotations, formulas
and citations.

A model that merges writes all of it anew, token by token, and now and then changes what it meant to copy. So each block
in the drafts that it is shown follows a reference, such as `[[A1-3f9c]]`, which it can write in the block's place
(`fusion/verbatim/expander.py` puts the block there). The end of every reference is drawn for each request, so that no
candidate can name a block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fusion.results import BlockKind
from fusion.text.sanitize import has_invisible_characters, neutralize_markup
from fusion.text.scanner import Span, has_own_lines, spans

INLINE_MIN_CHARS = 32
"""Minimum length for a formula, a link or an address inside a line to have a reference."""


MAX_BLOCKS = 64
"""Maximum number of blocks of one candidate that have a reference; the first ones do."""


_BLOCK_SIGNS = ("```", "~~~", "$$", "\\", "://", "doi:", "[@", "[^")


_BLOCK_LINE_STARTS = ("|", ">", "[")


_CITATION_LINE = re.compile(r"^(?P<indent>[ \t]*)\[\^?[^\[\]\s]{1,32}\]:?[ \t]+\S[^\n]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of one or more candidates."""

    kind: BlockKind
    text: str
    """The block as the candidates wrote it, from its first character that is not blank."""
    shown: str
    """The block as the judge model is shown it."""
    indent: str
    """The blanks before its first line."""
    inline: bool
    """It stands inside a line of text; other blocks have their lines to themselves."""
    members: tuple[str, ...]
    """The members that wrote it, in order of trust."""

    def indented(self, indent: str) -> str:
        """The block for a place where `indent` precedes it: every line after the first moves with the first one, so the
        content of a code block stays the same. Byte for byte the candidates' text where the indent is their own."""
        if indent == self.indent or "\n" not in self.text:
            return self.text
        first, *others = self.text.split("\n")
        moved = (indent + _outdented(line, self.indent) if line.strip() else line for line in others)
        return "\n".join([first, *moved])

    def without_fences(self) -> Block:
        """The code between a code block's fences; any other block as it is."""
        if self.kind != "code":
            return self
        lines = self.text.split("\n")[1:-1]
        if lines:
            lines[0] = _outdented(lines[0], self.indent)
        return replace(self, text="\n".join(lines))


@dataclass(frozen=True, slots=True)
class Draft:
    """A candidate, and the label under which a judge model is shown it."""

    label: str
    member: str
    text: str


@dataclass(frozen=True, slots=True)
class Offer:
    """The blocks that a judge model may refer to."""

    blocks: Mapping[str, Block]
    """By reference, those of the most trusted members first."""
    shown: Mapping[str, str]
    """The drafts with the references in them, by member."""
    nonce: str
    """The last part of every reference."""


def offer_blocks(
    drafts: Sequence[Draft], fence: str, conversation: Sequence[str], trust: Sequence[str]
) -> Offer | None:
    """Find the blocks of the drafts and put a reference before each. None when there are none.

    Args:
        drafts: in the order in which they are shown.
        fence: random hexadecimal digits; the nonce is a part of them that ends no reference in any draft or message.
        conversation: the texts of the request's messages.
        trust: the members in order of trust.
    """
    blocks_by_draft = [(draft, _blocks_in(draft.text)) for draft in drafts]
    if not any(blocks for _, blocks in blocks_by_draft):
        return None
    texts = [*(draft.text for draft in drafts), *conversation]
    nonces = (fence[start : start + 4] for start in range(len(fence) - 3))
    nonce = next((nonce for nonce in nonces if not any(f"-{nonce}]]" in text for text in texts)), fence)
    blocks: dict[str, Block] = {}
    references: dict[tuple[object, ...], str] = {}
    shown: dict[str, str] = {}
    for draft, draft_blocks in blocks_by_draft:
        text, pieces, position = neutralize_markup(draft.text), list[str](), 0
        for number, (start, block) in enumerate(draft_blocks, 1):
            identity = (block.kind, block.inline, block.indented(""))
            reference = references.setdefault(identity, f"[[{draft.label}{number}-{nonce}]]")
            first = blocks.get(reference, block)
            members = {*first.members, draft.member}
            blocks[reference] = replace(first, members=tuple(sorted(members, key=trust.index)))
            own_line = "" if block.inline else f"\n{block.indent}"
            pieces += [text[position:start], reference, own_line]
            position = start
        shown[draft.member] = "".join([*pieces, text[position:]])
    ordered = sorted(blocks.items(), key=lambda item: trust.index(item[1].members[0]))
    return Offer(dict(ordered), shown, nonce)


def _outdented(line: str, indent: str) -> str:
    """The line without its first blanks, at most as many as the indent has."""
    blanks = len(line) - len(line.lstrip(" \t"))
    return line[min(blanks, len(indent)) :]


def _blocks_in(text: str) -> list[tuple[int, Block]]:
    """The blocks of a draft, each with its offset in the draft as a judge model is shown it.

    No block may put text into an answer that the judge model did not see. So a block with invisible characters is left
    out, and so is every block of a draft in which neutralizing the markup moves where blocks begin or end.
    """
    if not _may_have_blocks(text):
        return []
    shown = neutralize_markup(text)
    places = list(_places(text))
    shown_places = places if shown == text else list(_places(shown))
    if len(shown_places) != len(places):
        return []
    blocks: list[tuple[int, Block]] = []
    for place, shown_place in zip(places, shown_places, strict=True):
        block, shown_block = text[place.start : place.end], shown[shown_place.start : shown_place.end]
        line_start = text.rfind("\n", 0, place.start) + 1
        indent = "" if place.inline else text[line_start : place.start]
        if not has_invisible_characters(block) and neutralize_markup(block) == shown_block:
            blocks.append((shown_place.start, Block(place.kind, block, shown_block, indent, place.inline, ())))
    return blocks[:MAX_BLOCKS]


def _may_have_blocks(text: str) -> bool:
    """A fast test that rules out most texts without blocks."""
    if any(sign in text for sign in _BLOCK_SIGNS) or text.count("$") > 1:
        return True
    return any(line.lstrip(" \t").startswith(_BLOCK_LINE_STARTS) for line in text.split("\n"))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a block is: from the character `start` to before `end`."""

    kind: BlockKind
    start: int
    end: int
    inline: bool


def _places(text: str) -> Iterator[_Place]:
    """The places of the blocks, in order; none is inside another."""
    citations = (_Place("citation", match.end("indent"), match.end(), False) for match in _CITATION_LINE.finditer(text))
    line = next(citations, None)
    end = 0
    for span in spans(text):
        while line and line.end <= span.start:
            if line.start >= end:
                yield line
                end = line.end
            line = next(citations, None)
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
        line = next(citations, None)


def _place(text: str, span: Span) -> _Place | None:
    """The place of the block that a span makes; None where it makes none."""
    start, end = span.start, len(text) if span.end is None else span.end
    if span.kind in ("code", "table", "quote"):
        block = text[start:end]
        start += len(block) - len(block.lstrip(" \t"))
        end -= len(block) - len(block.rstrip("\r"))
        return _Place(span.kind, start, end, False) if span.kind != "code" or _is_closed(text[start:end]) else None
    if span.kind == "maths" and text.startswith(("$$", "\\["), start) and has_own_lines(text, start, end):
        return _Place("maths", start, end, False)
    if span.kind == "citation" and text.startswith("](", start - 2) and text[end : end + 1] == ")":
        opening = text.rfind("[", text.rfind("\n", 0, start) + 1, start - 2)
        if opening >= 0 and "]" not in text[opening : start - 2]:
            start, end = opening, end + 1
    is_long = end - start >= INLINE_MIN_CHARS and "\n" not in text[start:end]
    return _Place(span.kind, start, end, True) if is_long and span.kind != "inline_code" else None


def _is_closed(code: str) -> bool:
    """Whether a code block has a closing fence."""
    fence = code[: len(code) - len(code.lstrip(code[0]))]
    last = code.rsplit("\n", 1)[-1].strip()
    return "\n" in code and last.startswith(fence) and not last.strip(code[0])

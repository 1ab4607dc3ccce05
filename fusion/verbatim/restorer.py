"""Puts the blocks that a judge model took over into its answer, as their candidates wrote them, while it is written.

A reference becomes its block. Lines that are a candidate's block but for what copying changes become that block. All
else goes on as it was written, and at once: held back are only an unfinished reference, the blanks at a line's
beginning, and, of lines that may still turn out to be a block, what comes after the first character that differs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import takewhile

from fusion.results import TakenBlock
from fusion.verbatim.references import GROWING, Block, Offer, outdented

_REFERENCE = re.compile(r"\[\[[A-Z]\d{1,3}-([0-9a-f]+)\]\]")


_BEGUN_REFERENCE = re.compile(r"\[(?:\[(?:[A-Z](?:\d{1,3}(-[0-9a-f]*\]?)?)?)?)?\Z")


_FENCE = re.compile(r"[ \t]*(`{3,}+(?![^`]*`)|~{3,})")


_REFERENCE_CHARS = 32
"""No reference is longer."""


_HEAD_CHARS = 256
"""So much of a line tells whether it is a code block's fence."""


_LINE_CHARS = 4096
"""A longer line is compared byte for byte alone."""


_BLANKS = " \t"


def restored(text: str, offer: Offer | None) -> tuple[str, tuple[TakenBlock, ...]]:
    """A whole answer with the blocks put in, and which they are, in order."""
    if offer is None:
        return text, ()
    restorer = Restorer(offer)
    whole = restorer.feed(text) + restorer.finish()
    return whole, tuple(restorer.taken)


@dataclass(slots=True)
class _Live:
    """A block that the lines which are being written may be a copy of; `text` is what then stands in the answer, with
    the line's end. The first `same` characters of it were written like this."""

    block: Block
    text: str
    same: int = 0

    def follow(self, piece: str, at: int) -> None:
        if self.same == at:
            here = self.text[at : at + len(piece)]
            self.same += len(here) if piece.startswith(here) else _same(here, piece)


@dataclass(slots=True)
class _Copy:
    """Lines that may be a copy. `ended` is the block that they are unless another line is added to them. `unsent` is
    what was written and not passed on, `sent` and `length` count what was passed on and written."""

    indent: str
    live: list[_Live]
    lines: list[str] = field(default_factory=list[str])
    ended: _Live | None = None
    unsent: str = ""
    sent: int = 0
    length: int = 0
    followed: int = 0

    def follow(self, line: str) -> None:
        """The line that is being written has grown to this."""
        piece = line[self.followed :]
        for each in [*self.live, *([self.ended] if self.ended else [])]:
            each.follow(piece, self.length)
        self.unsent += piece
        self.length += len(piece)
        self.followed = len(line)

    def is_exact(self, each: _Live) -> bool:
        return each.same == self.length


@dataclass(slots=True)
class Restorer:
    """Follows one answer. What `feed` and `finish` return adds up to the same however the answer is cut."""

    offer: Offer
    taken: list[TakenBlock] = field(default_factory=list[TakenBlock])
    # The line that is being written: what was not passed on of it, how it begins, and what is known of it.
    _tail: str = ""
    _head: str = ""
    _may_open: bool = True
    _begun: bool = False
    _follows_block: bool = False
    _names_nothing: bool = False
    _refers: bool = False
    # What goes on over lines.
    _copy: _Copy | None = None
    _fence: str = ""
    _referred: Block | None = None
    _doubles: str = ""
    _needs_gap: bool = False

    def feed(self, text: str) -> str:
        """What can be passed on after this piece."""
        first, *others = text.split("\n")
        passed = [self._grow(first)]
        for other in others:
            passed += [self._end_line("\n"), self._grow(other)]
        return "".join(passed)

    def finish(self) -> str:
        """The rest."""
        return self._end_line("")

    def _grow(self, piece: str) -> str:
        if not piece:
            return ""
        self._tail += piece
        self._head = (self._head + piece)[:_HEAD_CHARS]
        return self._go_on()

    def _go_on(self) -> str:
        if self._copy:
            return self._grow_copy(self._copy)
        if not self._may_open:
            return self._prose()
        body = self._tail.lstrip(_BLANKS)
        if not body:
            return ""
        self._may_open = False
        gap, self._needs_gap = "\n" if self._needs_gap else "", False
        if not self._fence:
            indent = self._tail[: len(self._tail) - len(body)]
            live = [
                _Live(block, f"{indent}{block.at(indent)}\n") for block in self.offer.lines if block.may_have(0, body)
            ]
            if live:
                self._copy = _Copy(indent, live)
                return gap + self._grow_copy(self._copy)
        return gap + self._prose()

    def _end_line(self, end: str) -> str:
        copy = self._copy
        settled = ""
        if copy and copy.ended:
            settled = self._settle(copy, copy.ended, "\n")
        elif copy:
            return self._end_line_of_copy(copy, end)
        return settled + self._prose(final=True) + self._close_line(end)

    # --- a block that is being copied

    def _grow_copy(self, copy: _Copy) -> str:
        if copy.ended:
            body = self._tail.lstrip(_BLANKS)
            if not body:
                return ""
            if not body.startswith(GROWING[copy.ended.block.kind]):
                settled = self._settle(copy, copy.ended, "\n")
                return settled + self._go_on()
            copy.ended = None
        copy.follow(self._tail)
        copy.live = self._fitting(copy, whole=False)
        return self._pass_on(copy) if copy.live else self._give_up(copy)

    def _end_line_of_copy(self, copy: _Copy, end: str) -> str:
        copy.follow(self._tail)
        live = self._fitting(copy, whole=True)
        rows = len(copy.lines) + 1
        complete = [each for each in live if len(each.block.rows) == rows]
        if not live or not (complete or end):
            return self._give_up(copy) + self._prose(final=True) + self._close_line(end)
        ended = next(filter(copy.is_exact, complete), complete[0]) if complete else None
        copy.lines.append(self._tail)
        self._new_line()
        if ended and (not end or ended.block.kind not in GROWING):
            return self._settle(copy, ended, end)
        copy.ended = ended
        copy.live = [each for each in live if each not in complete]
        copy.followed = 0
        copy.follow(end)
        copy.followed = 0
        return self._pass_on(copy)

    def _fitting(self, copy: _Copy, *, whole: bool) -> list[_Live]:
        """Whose copy it still is with the line so far, or the `whole` line."""
        if f"-{self.offer.nonce}]]" in self._tail:
            return []
        row, line = len(copy.lines), outdented(self._tail, copy.indent)
        is_long = len(self._tail) > _LINE_CHARS

        def fits(each: _Live) -> bool:
            if each.same == copy.length and (not whole or each.text.startswith("\n", copy.length)):
                return True
            return not is_long and (each.block.has if whole else each.block.may_have)(row, line)

        return [each for each in copy.live if fits(each)]

    def _pass_on(self, copy: _Copy) -> str:
        """What is the same whatever the copy turns out to be."""
        possible = [*copy.live, *([copy.ended] if copy.ended else [])]
        same = min(0 if each.block is self._referred else each.same for each in possible)
        until = min(same, copy.length - len(self._tail) + self._certain())
        count = max(0, until - copy.sent)
        passed, copy.unsent = copy.unsent[:count], copy.unsent[count:]
        copy.sent += count
        return passed

    def _settle(self, copy: _Copy, each: _Live, end: str) -> str:
        """The lines are this block. Where they repeat what a reference has just put there they are left out."""
        self._copy = None
        if each.block is self._referred:
            self._referred = None
            return ""
        text = each.text if end else each.text[:-1]
        written = "\n".join(copy.lines)
        how = "copied" if written == each.text[:-1] else "restored"
        self.taken.append(TakenBlock(each.block.kind, how, each.block.members))
        self._referred = None
        return text[copy.sent :]

    def _give_up(self, copy: _Copy) -> str:
        """The lines are no block of a candidate's: they go on as they were written."""
        self._copy = None
        tail, head = self._tail, self._head
        passed: list[str] = []
        for line in copy.lines:
            self._tail, self._head, self._may_open = line, line[:_HEAD_CHARS], False
            passed += [self._prose(final=True), self._close_line("\n")]
        self._tail, self._head, self._may_open = tail, head, False
        passed.append(self._prose())
        return "".join(passed)[copy.sent :]

    # --- all else

    def _prose(self, *, final: bool = False) -> str:
        """What can be passed on of the line, with the blocks that are referred to. `final`: it has ended."""
        passed: list[str] = []
        while self._tail:
            if self._follows_block:
                self._tail = self._tail.lstrip(_BLANKS)
                if not self._tail:
                    break
                passed.append("\n\n" if self._needs_gap else "\n")
                self._follows_block = self._needs_gap = self._begun = False
                self._head = self._tail[:_HEAD_CHARS]
            if self._doubles:
                if not final and self._doubles.startswith(self._tail) and self._doubles != self._tail:
                    break
                self._tail, self._doubles = self._tail.removeprefix(self._doubles), ""
                continue
            nonce = self.offer.nonce
            match = next((match for match in _REFERENCE.finditer(self._tail) if match[1] == nonce), None)
            if match:
                before, self._tail = self._tail[: match.start()], self._tail[match.end() :]
                passed.append(self._put(before, match[0]))
                continue
            certain = len(self._tail) if final else self._certain()
            passed.append(self._tail[:certain])
            self._begun = self._begun or bool(passed[-1].strip(_BLANKS))
            self._tail = self._tail[certain:]
            break
        return "".join(passed)

    def _certain(self) -> int:
        """How many characters of the line are no part of a reference, whatever follows, nor of the blanks before one
        that has the line to itself."""
        tail = self._tail
        match = _BEGUN_REFERENCE.search(tail, max(0, len(tail) - _REFERENCE_CHARS))
        certain = len(tail)
        if match and f"-{self.offer.nonce}]]".startswith(match[1] or ""):
            certain = match.start()
        return certain if self._begun or tail[:certain].strip(_BLANKS) else 0

    def _put(self, before: str, reference: str) -> str:
        """What is there instead of a reference and of what comes before it. Lines have their lines to themselves. A
        reference that names nothing goes, and its line with it if there is nothing else on it."""
        block = self.offer.blocks.get(reference)
        has_line = not self._begun and not before.strip(_BLANKS)
        if block is None and has_line:
            self._names_nothing = True
            return ""
        self._begun = True
        if block is None:
            return before
        self.taken.append(TakenBlock(block.kind, "referred", block.members))
        if block.inline:
            self._doubles = block.shown
            return before + block.text
        self._follows_block = True
        if self._fence:
            block = block.inside
        else:
            self._refers, self._referred, self._needs_gap = True, block, block.kind in GROWING
        return before + block.at(before) if has_line else f"{before}\n{block.at('')}"

    def _close_line(self, end: str) -> str:
        """The line's end, and what the line was to those after it."""
        head = self._head.strip()
        if self._fence:
            closes = len(self._head) < _HEAD_CHARS and head.startswith(self._fence) and not head.strip(head[:1])
            self._fence = "" if closes else self._fence
        elif match := _FENCE.match(self._head):
            self._fence = match[1]
        if not head:
            self._needs_gap = False
        elif not self._refers:
            self._referred = None
        goes = self._names_nothing and not self._begun
        self._new_line()
        return "" if goes else end

    def _new_line(self) -> None:
        self._tail = self._head = self._doubles = ""
        self._may_open = True
        self._begun = self._follows_block = self._names_nothing = self._refers = False


def _same(one: str, other: str) -> int:
    """How many characters both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))

"""Replaces the references that a judge model wrote by the blocks that they name, whole or while the answer streams.

Everything else passes through as it was written. A stream is held back only where a reference may be unfinished, at the
blanks that begin a line, and while the text after a reference is the block's own text, written out again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fusion.results import TakenBlock
from fusion.verbatim.references import Block, Offer

_REFERENCE = re.compile(r"\[\[[A-Z]\d{1,3}-([0-9a-f]+)\]\]")


_UNFINISHED_REFERENCE = re.compile(r"\[(?:\[(?:[A-Z](?:\d{1,3}(-[0-9a-f]*\]?)?)?)?)?\Z")


_MAX_REFERENCE_CHARS = 32


_FENCE = re.compile(r"[ \t]*(`{3,}+(?![^`]*`)|~{3,})")


_MAX_FENCE_LINE_CHARS = 256
"""A longer line does not open or close a code fence."""


_BLANKS = " \t"


def expand_references(text: str, offer: Offer | None) -> tuple[str, tuple[TakenBlock, ...]]:
    """Replace the references in a whole answer; return it with the blocks that were put in, in order."""
    if offer is None:
        return text, ()
    expander = ReferenceExpander(offer)
    expanded = expander.feed(text) + expander.finish()
    return expanded, tuple(expander.taken)


@dataclass(slots=True)
class ReferenceExpander:
    """Replaces the references in one answer that arrives in pieces.

    The texts that `feed` and `finish` return add up to the same answer wherever the pieces begin and end. `taken` has
    the blocks that were put in, in order.
    """

    offer: Offer
    taken: list[TakenBlock] = field(default_factory=list[TakenBlock])
    _held: str = ""
    """Received and not passed on."""
    _echo: str = ""
    """What followed the last reference in the drafts, dropped where the judge model repeats it."""
    _fence: str = ""
    """The mark that opened the code fence that the text is in."""
    _needs_blank_line: bool = False
    """The line before is a table's or a quotation's last one, which the next line of text would continue."""
    # The current line:
    _head: str = ""
    _indent: str = ""
    _has_text: bool = False
    _follows_block: bool = False
    _has_dangling_reference: bool = False

    def feed(self, piece: str) -> str:
        """Add a piece of the answer; return what can be passed on."""
        is_plain = "[" not in piece and "\n" not in piece
        if is_plain and self._has_text and not self._held and not self._echo:
            return self._text(piece)
        self._held += piece
        return self._advance(final=False)

    def finish(self) -> str:
        """End the answer; return the rest of it."""
        return self._advance(final=True) + self._end_line("")

    def _advance(self, *, final: bool) -> str:
        passed: list[str] = []
        while self._held:
            if self._echo and not self._drop_echo(final=final):
                break
            line, newline, rest = self._held.partition("\n")
            reference = next((match for match in _REFERENCE.finditer(line) if match[1] == self.offer.nonce), None)
            if reference:
                self._held = self._held[reference.end() :]
                passed += [self._text(line[: reference.start()]), self._expanded(reference[0])]
            elif newline:
                self._held = rest
                passed += [self._text(line), self._end_line(newline)]
            else:
                certain = len(line) if final else self._certain_chars(line)
                self._held = line[certain:]
                passed.append(self._text(line[:certain]))
                break
        return "".join(passed)

    def _drop_echo(self, *, final: bool) -> bool:
        """Drop the block's own text where it is repeated after its reference. False while that is not known yet."""
        is_line = self._echo.startswith("\n")
        expected = f"{self._echo}\n" if is_line else self._echo
        if not final and len(self._held) < len(expected) and expected.startswith(self._held):
            return False
        if self._held.startswith(expected) or (final and self._held == self._echo):
            self._held = self._held[len(self._echo) :]
            self._needs_blank_line = self._needs_blank_line and not is_line
        self._echo = ""
        return True

    def _certain_chars(self, line: str) -> int:
        """How many characters of an unfinished line are no part of a reference, whatever follows."""
        match = _UNFINISHED_REFERENCE.search(line, max(0, len(line) - _MAX_REFERENCE_CHARS))
        return match.start() if match and f"-{self.offer.nonce}]]".startswith(match[1] or "") else len(line)

    def _text(self, text: str) -> str:
        """Text without references. Blanks before a line's first text wait for it."""
        if not self._has_text:
            body = text.lstrip(_BLANKS)
            self._indent += text[: len(text) - len(body)]
            text = self._begin_line() + body if body else ""
        self._head = (self._head + text)[:_MAX_FENCE_LINE_CHARS]
        return text

    def _begin_line(self) -> str:
        """What comes before a line's first text: its blanks, and the end of a block's line if one is before it."""
        self._has_text = True
        before = "\n" if self._needs_blank_line else ""
        self._needs_blank_line = False
        if self._follows_block:
            self._follows_block, self._head = False, ""
            return f"\n{before}"
        return before + self._indent

    def _expanded(self, reference: str) -> str:
        block = self.offer.blocks.get(reference)
        if block is None:
            self._has_dangling_reference = True
            return ""
        self.taken.append(TakenBlock(block.kind, "referred", block.members))
        if block.inline:
            self._echo = block.shown
            return ("" if self._has_text else self._begin_line()) + block.text
        return self._block_of_lines(block)

    def _block_of_lines(self, block: Block) -> str:
        """A block that has its lines to itself. In a code fence it is the code without the fences of its own."""
        indent = "" if self._has_text or self._follows_block else self._indent
        before = "\n" if self._has_text else self._begin_line()
        self._has_text, self._follows_block, self._indent = False, True, ""
        if self._fence:
            return before + block.without_fences().indented(indent)
        self._echo = f"\n{block.indent}{block.shown}"
        self._needs_blank_line = block.kind in ("table", "quote")
        return before + block.indented(indent)

    def _end_line(self, newline: str) -> str:
        """The end of a line. A line that has nothing but a reference which names no block is dropped."""
        head = self._head.strip()
        if self._fence:
            is_short = len(self._head) < _MAX_FENCE_LINE_CHARS
            if is_short and head.startswith(self._fence) and not head.strip(head[0]):
                self._fence = ""
        elif match := _FENCE.match(self._head):
            self._fence = match[1]
        ended = newline
        if not self._has_text and not self._follows_block:
            ended = "" if self._has_dangling_reference else self._indent + newline
            self._needs_blank_line = self._needs_blank_line and self._has_dangling_reference
        self._head = self._indent = ""
        self._has_text = self._follows_block = self._has_dangling_reference = False
        return ended

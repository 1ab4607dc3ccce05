"""Where a text has what must not be paraphrased: code, tables, quotations, maths, and citations.

A scanner that never goes back, so that it can follow a stream, and takes linear time whatever it is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from fusion.results import BlockKind

_OPENING = re.compile(
    # What all of the following begin with, since trying them one after the other takes long.
    r"(?=[`~|>$\\hd1\[ \t])"
    r"(?:^(?P<indent>[ \t]*)(?:(?P<fence>`{3,}+(?![^\n]*`)|~{3,})|(?P<table>\|)|(?P<quote>>))"
    r"|(?P<dollars>\$\$)|(?P<bracket>\\\[)|(?P<paren>\\\()|(?P<dollar>\$(?![\s$]))|(?P<tick>`+)"
    r"|(?P<url>(?<![\w/])(?:https?://|doi:|10\.\d{4,9}/))|(?P<cite>\[[@^](?=\S)|\\cite[a-z]{0,8}\{))",
    re.MULTILINE,
)


_URL_END = re.compile(r"[\s<>\"'`|]")


@dataclass(frozen=True, slots=True)
class Span:
    """A block from `start` to before `end`; `end` is None while it has not ended."""

    kind: BlockKind
    start: int
    end: int | None


@dataclass(slots=True)
class Scanner:
    """Finds spans in one text, which may grow. `_without` remembers where a closing mark was looked for in vain."""

    _without: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def next(self, text: str, position: int, *, final: bool) -> Span | None:
        """The first span at or after the position. `final`: nothing more will come."""
        while match := _OPENING.search(text, position):
            span = self._span(text, match, final)
            if span is not None:
                return span
            position = match.end()
        return None

    def _span(self, text: str, match: re.Match[str], final: bool) -> Span | None:
        start = match.start()
        match match.lastgroup:
            case "fence":
                return Span("code", start, _fence_end(text, match, final))
            case "table":
                return Span("table", start, _lines_end(text, start, "|", final))
            case "quote":
                return Span("quote", start, _lines_end(text, start, ">", final))
            case "dollars":
                return self._closed("maths", text, match, "$$", final, one_line=False)
            case "bracket":
                return self._closed("maths", text, match, "\\]", final, one_line=False)
            case "paren":
                return self._closed("maths", text, match, "\\)", final, one_line=True)
            case "dollar":
                return self._closed("maths", text, match, "$", final, one_line=True)
            case "tick":
                return self._closed("inline_code", text, match, match["tick"], final, one_line=True)
            case "cite":
                closing = "}" if match["cite"].startswith("\\") else "]"
                return self._closed("citation", text, match, closing, final, one_line=True)
            case _:
                return _url(text, match, final)

    def _closed(
        self, kind: BlockKind, text: str, match: re.Match[str], closing: str, final: bool, *, one_line: bool
    ) -> Span | None:
        line_end = text.find("\n", match.end()) if one_line else -1
        is_open_ended = line_end < 0
        until = len(text) if is_open_ended else line_end
        since, looked_until = self._without.get(closing, (0, 0))
        in_vain = since <= match.end() and until <= looked_until
        at = -1 if in_vain else text.find(closing, match.end(), until)
        if at >= 0:
            # A price is no formula: `$5 and $6`.
            is_price = closing == "$" and (text[at - 1].isspace() or text[at + 1 : at + 2].isdigit())
            return None if is_price or at == match.end() else Span(kind, match.start(), at + len(closing))
        if is_open_ended and not final:
            return Span(kind, match.start(), None)
        self._without[closing] = (match.end(), until)
        return None


def spans(text: str) -> Iterator[Span]:
    """Every span of a whole text."""
    scanner, position = Scanner(), 0
    while span := scanner.next(text, position, final=True):
        assert span.end is not None
        yield span
        position = span.end


def has_own_lines(text: str, start: int, end: int) -> bool:
    """Whether a span has its lines to itself."""
    before = text[text.rfind("\n", 0, start) + 1 : start]
    line_end = text.find("\n", end)
    after = text[end : line_end if line_end >= 0 else len(text)]
    return not before.strip() and not after.strip()


def _fence_end(text: str, match: re.Match[str], final: bool) -> int | None:
    fence = match["fence"]
    end_of_line = r"(?:\n|\Z)" if final else r"\n"
    closing = re.compile(rf"^[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t\r]*{end_of_line}", re.MULTILINE)
    opened = text.find("\n", match.end())
    found = closing.search(text, opened + 1) if opened >= 0 else None
    if found:
        return found.end() - found[0].endswith("\n")
    return len(text) if final else None


def _lines_end(text: str, start: int, mark: str, final: bool) -> int | None:
    """The end of the last of the lines that begin with the mark."""
    end = start
    while (line_end := text.find("\n", end)) >= 0:
        begins = next((character for character in _after_blanks(text, line_end + 1)), None)
        if begins is None and not final:
            return None
        if begins != mark:
            return line_end
        end = line_end + 1
    return len(text) if final else None


def _after_blanks(text: str, position: int) -> Iterator[str]:
    while position < len(text):
        if text[position] not in " \t":
            yield text[position]
            return
        position += 1


def _url(text: str, match: re.Match[str], final: bool) -> Span | None:
    found = _URL_END.search(text, match.end())
    if found is None and not final:
        return Span("citation", match.start(), None)
    end = found.start() if found else len(text)
    url = text[match.start() : end]
    while url and (
        url[-1] in ".,;:!?*_" or (url[-1] in ")]}" and url.count("([{"[")]}".index(url[-1])]) < url.count(url[-1]))
    ):
        url = url[:-1]
    return Span("citation", match.start(), match.start() + len(url)) if len(url) > len(match["url"]) else None

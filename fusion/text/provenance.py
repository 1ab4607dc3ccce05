"""Which candidates support which part of an answer, by their words alone and without a model's call.

An answer is cut into sentences and blocks. A candidate supports a sentence when it has at least `SUPPORT` of the
sentence's word pairs, and every number in it: containment of shingles (Broder 1997), which does not mind how much else
a candidate says. A sentence of one word is compared by the word. A block (code, table, quotation, formula, citation) is
supported by those who have it byte for byte, up to white space at the ends.

It tells what was taken over in much the same words. A paraphrase counts as unsupported, and shared words are no proof
of a shared meaning: read it as a pointer to where to look.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from fusion.results import BlockKind, Candidate, Fused
from fusion.text.scanner import has_own_lines, spans
from fusion.text.similarity import words

SUPPORT = 0.6


_SENTENCE = re.compile(r"[^\n]*?(?:[.!?\u3002\uff01\uff1f][)\"'\u201d\u2019\]*_]{0,4}(?=\s|\Z)|\n|\Z)")


_INLINE = frozenset({"inline_code", "citation"})


@dataclass(frozen=True, slots=True)
class Supported:
    """A part of an answer, from the character `start` to before `end`, and the members that support it, in order of
    trust; none when nobody does."""

    kind: Literal["sentence"] | BlockKind
    start: int
    end: int
    members: tuple[str, ...]


def provenance(fused: Fused) -> tuple[Supported, ...]:
    """The fused answer's parts, in order, each with who supports it: of every member, the last candidate counts."""
    latest = {candidate.member: candidate for candidate in fused.candidates if candidate.status == "answered"}
    return supported(fused.completion.text, list(latest.values()))


def supported(text: str, candidates: Sequence[Candidate]) -> tuple[Supported, ...]:
    """The text's parts, in order, each with the members whose candidates support it."""
    sources = [(candidate.member, _Source.of(candidate)) for candidate in candidates]
    parts: list[Supported] = []
    for kind, start, end in _parts(text):
        part = text[start:end]
        members = (
            _supporters(part, sources)
            if kind == "sentence"
            else tuple(member for member, source in sources if part.strip() in source.text)
        )
        parts.append(Supported(kind, start, end, members))
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class _Source:
    text: str
    words: frozenset[str]
    pairs: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, candidate: Candidate) -> _Source:
        text = candidate.completion.text if candidate.completion else ""
        tokens = words(text)
        return cls(text, frozenset(tokens), frozenset(pairwise(tokens)))


def _supporters(sentence: str, sources: Sequence[tuple[str, _Source]]) -> tuple[str, ...]:
    tokens = words(sentence)
    pairs = set(pairwise(tokens))
    numbers = {word for word in tokens if any(character.isdigit() for character in word)}
    members: list[str] = []
    for member, source in sources:
        share = len(pairs & source.pairs) / len(pairs) if pairs else float(set(tokens) <= source.words)
        if share >= SUPPORT and numbers <= source.words:
            members.append(member)
    return tuple(members)


def _parts(text: str) -> list[tuple[Literal["sentence"] | BlockKind, int, int]]:
    """Blocks that stand for themselves, and the sentences between them; what is inside of a sentence is part of it."""
    parts: list[tuple[Literal["sentence"] | BlockKind, int, int]] = []
    position = 0
    for span in spans(text):
        assert span.end is not None
        if span.kind in _INLINE or (
            span.kind == "maths"
            and "\n" not in text[span.start : span.end]
            and not has_own_lines(text, span.start, span.end)
        ):
            continue
        parts += _sentences(text, position, span.start)
        parts.append((span.kind, span.start, span.end))
        position = span.end
    return parts + _sentences(text, position, len(text))


def _sentences(text: str, start: int, end: int) -> list[tuple[Literal["sentence"] | BlockKind, int, int]]:
    found: list[tuple[Literal["sentence"] | BlockKind, int, int]] = []
    for match in _SENTENCE.finditer(text, start, end):
        sentence = match[0]
        first = match.start() + len(sentence) - len(sentence.lstrip())
        last = match.end() - (len(sentence) - len(sentence.rstrip()))
        if words(text[first:last]):
            found.append(("sentence", first, last))
    return found

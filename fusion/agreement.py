"""Whether candidates say the same, without asking a model.

Short answers agree when they are equal after normalising; long ones when their words overlap enough. The overlap is
the Dice coefficient of word bigrams (Dice 1945), which is linear in the length of the texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise

from fusion.values import Candidate, ToolCall

SHORT_WORDS = 12
LONG_THRESHOLD = 0.8

_WORD = re.compile(r"(?:(?<!\w)-(?=\.?\d))?(?:\.(?=\d))?\w+(?:[.,]\w+)*|[<>=≤≥≠%^+/]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")


def words(text: str) -> list[str]:
    """The text's words, case and punctuation folded; a number's thousands separators are dropped.

    A number keeps its sign, and signs of comparison and arithmetic count as words: `-4` is not `4`.
    """
    return _WORD.findall(_THOUSANDS.sub("", text.casefold().replace("\N{MINUS SIGN}", "-")))


def similarity(a: str, b: str) -> float:
    """How much two texts share, from 0 to 1. Texts of up to `SHORT_WORDS` words share all or nothing."""
    words_a, words_b = words(a), words(b)
    if words_a == words_b:
        return 1.0 if words_a or a.strip() == b.strip() else 0.0
    if min(len(words_a), len(words_b)) <= SHORT_WORDS:
        return 0.0
    bigrams_a, bigrams_b = Counter(pairwise(words_a)), Counter(pairwise(words_b))
    shared = sum((bigrams_a & bigrams_b).values())
    return 2 * shared / (bigrams_a.total() + bigrams_b.total())


def agree(candidates: Sequence[Candidate], threshold: float = LONG_THRESHOLD) -> bool:
    """Whether every two of at least two answered candidates are alike. Tool calls agree when they are equal."""
    completions = [candidate.completion for candidate in candidates if candidate.completion]
    return len(completions) > 1 and all(
        _calls(a.tool_calls) == _calls(b.tool_calls) and similarity(a.text, b.text) >= threshold
        for a, b in combinations(completions, 2)
    )


def most_central(candidates: Sequence[Candidate]) -> Candidate:
    """The answered candidate that is closest to the others; the earlier one where two are as close."""
    texts = [candidate.completion.text if candidate.completion else "" for candidate in candidates]
    closeness = [
        sum(similarity(text, other) for j, other in enumerate(texts) if j != i) for i, text in enumerate(texts)
    ]
    return candidates[closeness.index(max(closeness))]


def _calls(tool_calls: Sequence[ToolCall]) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in tool_calls]

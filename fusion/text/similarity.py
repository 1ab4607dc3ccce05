"""The words of a text, and how much two texts share: the Dice coefficient of word bigrams (Dice 1945), which is linear
in their length."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

SHORT_WORDS = 12
"""Maximum number of words of a short answer."""


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

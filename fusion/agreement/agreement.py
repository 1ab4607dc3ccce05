"""Whether candidates say the same, without asking a model.

Short answers, JSON and code agree when their normal forms are equal. Long answers agree when their words overlap enough
and they hold the same numbers and the same negations; the overlap is the Dice coefficient of word bigrams (Dice 1945),
which is linear in the length of the texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise

from fusion.agreement.normal_form import NormalForm, normal_form
from fusion.chat import Completion
from fusion.presets import AgreementPolicy
from fusion.results import Agreement, Candidate
from fusion.text.json_text import canonical_as_written
from fusion.text.similarity import similarity, words

LONG_THRESHOLD = 0.8
"""How alike two long answers of a debate are when there is nothing left to argue."""


_NEGATING = re.compile(
    r"\b(?:no|not|none|never|neither|nor|cannot|without|false|true|un(?:true|able|safe|likely)|in(?:correct|valid)|"
    r"\w*n['\N{RIGHT SINGLE QUOTATION MARK}]t)\b",
    re.IGNORECASE,
)


_NUMBER = re.compile(r"[-.]{0,2}\d")


Key = tuple[tuple[tuple[str, str], ...], NormalForm | str]


def agreement(
    candidates: Sequence[Candidate], policy: AgreementPolicy, quorum: int, running: int = 0
) -> Agreement | None:
    """What the comparison of the answered candidates came to; None when there was nothing to compare.

    They `agreed` when those that say the same are a quorum, at least two, and more than half of all that
    answered or may still answer: then no straggler can change it. An answer that was cut off agrees with none, but
    counts. Neither the order of the candidates nor that of their arrival matters, but for the order of `members`, which
    is theirs.
    """
    completions = {candidate.member: candidate.completion for candidate in candidates if candidate.completion}
    whole = {name: completion for name, completion in completions.items() if completion.finish_reason in _WHOLE}
    if len(whole) < 2 or (not policy.short and policy.long is None):
        return None
    kind, score, group = max(_groups(whole, policy), key=lambda found: (len(found[2]), found[1], sorted(found[2])))
    agreed = len(group) >= max(2, quorum) and 2 * len(group) > len(completions) + running
    return Agreement(kind, score, tuple(name for name in whole if name in group), agreed)


def agree(candidates: Sequence[Candidate], threshold: float = LONG_THRESHOLD) -> bool:
    """Whether every two of at least two answered candidates are alike."""
    completions = [candidate.completion for candidate in candidates if candidate.completion]
    return len(completions) > 1 and all(_likeness(a, b) >= threshold for a, b in combinations(completions, 2))


def most_central(candidates: Sequence[Candidate]) -> Candidate:
    """The answered candidate that is closest to the others; the earlier one where two are as close."""
    texts = [candidate.completion.text if candidate.completion else "" for candidate in candidates]
    closeness = [
        sum(similarity(text, other) for j, other in enumerate(texts) if j != i) for i, text in enumerate(texts)
    ]
    return candidates[closeness.index(max(closeness))]


_WHOLE = ("stop", "tool_calls")


_Group = tuple[str, float, frozenset[str]]


def _groups(whole: dict[str, Completion], policy: AgreementPolicy) -> list[_Group]:
    """Every largest set of two or more members that say the same: how they were compared, and the least likeness of two
    of them."""
    keys = {name: _key(completion) for name, completion in whole.items()}
    found: list[_Group] = []
    if policy.short:
        by_key: dict[Key, set[str]] = {}
        for name, key in keys.items():
            if key is not None:
                by_key.setdefault(key, set()).add(name)
        found += [(_kind(key), 1.0, frozenset(names)) for key, names in by_key.items()]
    long = [name for name, key in keys.items() if key is None]
    if policy.long is not None and len(long) > 1:
        likeness = {
            frozenset(pair): _long_likeness(*(whole[name].text for name in pair)) for pair in combinations(long, 2)
        }
        for clique in _cliques(long, {pair for pair, score in likeness.items() if score >= policy.long}):
            score = min((likeness[frozenset(pair)] for pair in combinations(clique, 2)), default=0.0)
            found.append(("similarity", score, clique))
    return [group for group in found if len(group[2]) > 1] or [("none", 0.0, frozenset())]


def _cliques(names: Sequence[str], alike: set[frozenset[str]]) -> list[frozenset[str]]:
    """The maximal sets in which every two are alike (Bron and Kerbosch 1973)."""
    found: list[frozenset[str]] = []

    def grow(clique: frozenset[str], open_to: set[str], done: set[str]) -> None:
        if not open_to and not done:
            found.append(clique)
        for name in sorted(open_to):
            friends = {other for other in names if frozenset((name, other)) in alike and other != name}
            grow(clique | {name}, open_to & friends, done & friends)
            open_to = open_to - {name}
            done = done | {name}

    grow(frozenset(), set(names), set())
    return found


def _likeness(a: Completion, b: Completion) -> float:
    key_a, key_b = _key(a), _key(b)
    if key_a is None and key_b is None:
        return _long_likeness(a.text, b.text)
    return 1.0 if key_a == key_b else 0.0


def _long_likeness(a: str, b: str) -> float:
    """How much two long texts share; nothing when a number or a negation is in one of them alone."""
    return similarity(a, b) if _numbers_and_negations(a) == _numbers_and_negations(b) else 0.0


def _numbers_and_negations(text: str) -> Counter[tuple[str, ...]]:
    """The numbers with what follows them, and the negations: what turns a long text's meaning in one word."""
    tokens = words(text)
    numbers = [(word, following) for word, following in pairwise([*tokens, ""]) if _NUMBER.match(word)]
    negations = [(word.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"),) for word in _NEGATING.findall(text)]
    return Counter([*numbers, *negations])


def _key(completion: Completion) -> Key | None:
    """What has to be equal for two completions to say the same; None for a long text, which has no such form."""
    form = normal_form(completion.text)
    calls = tuple(
        (call.name, canonical_as_written(call.arguments) or call.arguments.strip()) for call in completion.tool_calls
    )
    if form is None and not calls:
        return None
    return calls, form or completion.text.strip()


def _kind(key: Key) -> str:
    calls, form = key
    return "tool_calls" if calls else form.kind if isinstance(form, NormalForm) else "text"

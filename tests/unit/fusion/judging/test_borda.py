"""Borda's count: what must hold whatever the ballots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.judging.ranking import CandidateScores, borda

NAMES = ("ada", "bob", "cyd", "dot")
SCORES = st.none() | st.integers(0, 10).map(float)
BALLOTS = st.lists(
    st.tuples(st.fixed_dictionaries(dict.fromkeys(NAMES, SCORES)), st.sampled_from([0.5, 1.0])), min_size=1, max_size=6
)


@given(BALLOTS, st.permutations(NAMES))
def test_neither_the_order_of_candidates_nor_that_of_ballots_matters(
    ballots: list[tuple[CandidateScores, float]], names: list[str]
) -> None:
    shuffled = [({name: ballot[name] for name in names}, weight) for ballot, weight in reversed(ballots)]
    assert borda(shuffled) == pytest.approx(borda(ballots))


@given(BALLOTS)
def test_every_pair_shares_out_one_point_a_ballot(ballots: list[tuple[CandidateScores, float]]) -> None:
    pairs = len(NAMES) * (len(NAMES) - 1) / 2
    assert sum(borda(ballots).values()) == pytest.approx(pairs * sum(weight for _, weight in ballots))


@given(st.lists(st.permutations(range(4)), min_size=1, max_size=5), st.sampled_from(NAMES))
def test_whom_all_put_first_is_first(rankings: list[list[int]], favourite: str) -> None:
    ballots = [({**dict(zip(NAMES, map(float, ranking), strict=True)), favourite: 10.0}, 1.0) for ranking in rankings]
    points = borda(ballots)
    assert max(points, key=points.__getitem__) == favourite
    assert sorted(points.values())[-2] < points[favourite]


@given(BALLOTS, st.sampled_from(NAMES))
def test_one_attacker_among_judges_who_agree_does_not_turn_the_result(
    ballots: list[tuple[CandidateScores, float]], favourite: str
) -> None:
    """As many honest judges as candidates are enough, whatever one of them does."""
    honest = [({name: 9.0 if name == favourite else 1.0 for name in NAMES}, 1.0) for _ in NAMES]
    points = borda([*honest, (ballots[0][0], 1.0)])
    assert max(points, key=points.__getitem__) == favourite


@given(BALLOTS)
def test_how_high_a_judge_scores_does_not_matter(ballots: list[tuple[CandidateScores, float]]) -> None:
    def squeezed(ballot: CandidateScores) -> CandidateScores:
        return {name: None if score is None else score / 100 for name, score in ballot.items()}

    assert borda([(squeezed(ballot), weight) for ballot, weight in ballots]) == pytest.approx(borda(ballots))


def test_ties_and_abstentions_are_half_a_point() -> None:
    assert borda([({"ada": 5.0, "bob": 5.0, "cyd": 1.0}, 1.0)]) == {"ada": 1.5, "bob": 1.5, "cyd": 0.0}
    assert borda([({"ada": 5.0, "bob": None, "cyd": 1.0}, 1.0)]) == {"ada": 1.5, "bob": 1.0, "cyd": 0.5}
    assert borda([({"ada": None, "bob": None}, 1.0), ({"ada": 1.0, "bob": 2.0}, 0.5)]) == {"ada": 0.5, "bob": 1.0}

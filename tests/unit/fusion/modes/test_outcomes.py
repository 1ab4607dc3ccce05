"""The decision without a judge: trust beats the crowd."""

from __future__ import annotations

from fusion.modes.outcomes import most_trusted
from tests.support.panels import answered, profile

ALONE = {name: profile(name) for name in ("ada", "bob", "cyd", "dot")}


def test_the_first_of_different_models_wins_against_any_majority() -> None:
    candidates = [answered("ada", "five"), answered("bob", "four"), answered("cyd", "four"), answered("dot", "four")]
    assert most_trusted(candidates, ALONE).member == "ada"


def test_among_samples_of_the_first_model_the_closest_to_the_other_samples_wins() -> None:
    profiles = ALONE | {name: profile(name, origin="one") for name in ("ada", "cyd", "dot")}
    candidates = [answered("ada", "five"), answered("bob", "five"), answered("cyd", "four"), answered("dot", "four")]
    assert most_trusted(candidates, profiles).member == "cyd"


def test_the_same_model_on_another_backend_is_another_voice() -> None:
    profiles = ALONE | {name: profile(name, origin="one") for name in ("cyd", "dot")}
    candidates = [answered("bob", "five"), answered("cyd", "four"), answered("dot", "four")]
    assert most_trusted(candidates, profiles).member == "bob"


def test_a_single_candidate_is_the_most_trusted() -> None:
    assert most_trusted([answered("dot", "four")], ALONE).member == "dot"

"""Auto: two cheap members answer first. Where they agree that is the answer; where they differ the whole panel is
convened, with their answers among its own, and a judge decides.

On recorded grade-school problems two models agreed in 60% of cases and were then right in 93 to 97% of them; asking
more models only where cheap ones differ is a cascade (arXiv 2305.05176), with agreement as its test (arXiv 2310.03094).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusion.member import MemberProfile
from fusion.modes.best_of import pick, verdict_prefill
from fusion.modes.convene import answer_if_agreed_else, convene, settled_by_agreement
from fusion.modes.merge import merge_prefill, write
from fusion.presets import Task
from fusion.steps import Decision, Opening, Run

SAMPLES = 2
"""How many members are asked first."""


async def auto(run: Run, task: Task) -> Decision:
    """Ask two, convene the others if need be, then pick or write, as the preset says."""
    samples = cheapest(task.preset.panel, task.profiles)
    opening = Opening(samples, settled_by_agreement(task, quorum=SAMPLES))
    picks = task.preset.decision == "best-of"
    answers = await convene(run, task, verdict_prefill(task) if picks else merge_prefill(task), opening)
    only_samples = {candidate.member for candidate in answers.candidates} == set(samples)
    quorum = SAMPLES if only_samples else None
    return await answer_if_agreed_else(pick if picks else write, run, task, answers, quorum)


def cheapest(panel: Sequence[str], profiles: Mapping[str, MemberProfile]) -> tuple[str, ...]:
    """Return the two members with the lowest price of one token read and one written, in order of trust.

    The more trusted member wins a tie, and a member without a price comes after those that have one.
    """

    def price(member: str) -> float:
        known = profiles[member].price
        return float("inf") if known is None else known.input_per_mtok + known.output_per_mtok

    chosen = sorted(panel, key=price)[:SAMPLES]
    return tuple(member for member in panel if member in chosen)

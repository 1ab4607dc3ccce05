"""Auto: two cheap members answer first. Where they agree that is the answer; where they differ the whole panel is
convened, with their answers among its own, and a judge decides.

On recorded grade-school problems two models agreed in 60% of cases and were then right in 93 to 97% of them; asking
more models only where cheap ones differ is a cascade (arXiv 2305.05176), with agreement as its test (arXiv 2310.03094).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusion.member import MemberProfile
from fusion.modes.best_of import pick, verdict_ahead
from fusion.modes.merge import drafts_ahead, write
from fusion.modes.panel import convene, settled_by_agreement, settled_or
from fusion.presets import Task
from fusion.steps import Opening, Plan

SAMPLES = 2


def auto(task: Task) -> Plan:
    """Ask two, convene the others if need be, then pick or write, as the preset says."""
    samples = cheapest(task.preset.panel, task.profiles)
    opening = Opening(samples, settled_by_agreement(task, quorum=SAMPLES))
    best_of = task.preset.decision == "best-of"
    task, candidates = yield from convene(task, verdict_ahead(task) if best_of else drafts_ahead(task), opening)
    alone = {candidate.member for candidate in candidates} == set(samples)
    decide = pick if best_of else write
    return (yield from settled_or(decide, task, candidates, quorum=SAMPLES if alone else None))


def cheapest(panel: Sequence[str], profiles: Mapping[str, MemberProfile]) -> tuple[str, ...]:
    """The two members whose tokens cost least, one read for each one written; of equals the more trusted. What has no
    price is taken to be dearer than what has one. In order of trust."""

    def price(member: str) -> float:
        known = profiles[member].price
        return float("inf") if known is None else known.input_per_mtok + known.output_per_mtok

    chosen = sorted(panel, key=price)[:SAMPLES]
    return tuple(member for member in panel if member in chosen)

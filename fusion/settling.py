"""Decisions that need no judge model, because enough candidates say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fusion.agreement.agreement import agreement
from fusion.presets import Task
from fusion.results import Agreement, Candidate
from fusion.steps import Decision, Plan
from fusion.structured.admission import admitted

Decide = Callable[[Task, Sequence[Candidate]], Plan]


def agreed(task: Task, candidates: Sequence[Candidate], quorum: int | None = None) -> Agreement | None:
    """Whether the candidates agree, by the preset's own rule; None when they were not compared. `quorum` stands in for
    the panel's."""
    preset = task.preset
    valid, _ = admitted(task.request, candidates)
    return agreement(valid, preset.agreement, quorum or preset.quorum)


def settled_or(decide: Decide, task: Task, candidates: Sequence[Candidate], quorum: int | None = None) -> Plan:
    """The answer that enough of the candidates agree on, as the most trusted of them gave it; or else what `decide`
    makes of all of them."""
    found = agreed(task, candidates, quorum)
    if found is None or not found.agreed:
        return replace((yield from decide(task, candidates)), agreement=found)
    spokesman = next(candidate for candidate in candidates if candidate.member in found.members)
    assert spokesman.completion is not None
    return Decision(spokesman.completion, agreement=found)

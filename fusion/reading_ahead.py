"""What a judge model can read before all candidates are in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fusion.ballot import Ballot, blind
from fusion.chat import Request
from fusion.judging.analysis import analysis_request
from fusion.presets import Task
from fusion.results import Candidate
from fusion.steps import Ahead
from fusion.structured.admission import admitted


def ahead(task: Task, decision_of: Callable[[Ballot], Request]) -> Ahead | None:
    """The beginning of what the first judge model in line will be asked first: for an analysis that comes before the
    decision, else for the decision itself. None when it is not to read ahead."""
    preset = task.preset
    if not preset.prefill or "judge" in task.skips or len(preset.panel) == 1 or not preset.judges:
        return None

    def request_of(candidates: Sequence[Candidate], shown: Sequence[str]) -> tuple[Request, str] | None:
        valid, _ = admitted(task.request, candidates)
        if not valid:
            return None
        ballot = blind(valid, task.request, task.seed, shown)
        before = preset.analysis == "before"
        return analysis_request(task.request, ballot) if before else decision_of(ballot), ballot.last_line

    return Ahead(preset.judges[0], request_of)

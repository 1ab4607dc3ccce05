"""Keeping a request within what it may cost: planned before the first call, and held before every later one.

Before a call is made its cost is bounded: its prompt is estimated from its length, at the high end, and its answer
cannot be longer than `max_tokens`, which every call within a budget has. A call is made only if what was spent, what is
under way at its bound, and its own bound fit into the budget together. So the budget can be exceeded only where a
prompt has more tokens than were estimated, by what the calls under way are off.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fusion.ballot import Ballot, blind
from fusion.chat import Call, Completion, Request
from fusion.errors import BudgetTooSmall, MalformedReply, MemberError, MemberTimeout, PriceUnknown
from fusion.judging.analysis import analysis_request
from fusion.judging.prompts import REFERRING, merge_request, rebuttal_request, verdict_request
from fusion.limits.eligibility import ANSWER_SHARE, max_answer_tokens
from fusion.member import MemberProfile
from fusion.presets import Task
from fusion.pricing import Price
from fusion.results import Budgeted, Candidate
from fusion.verbatim.references import MAX_BLOCKS

MAX_OUTPUT_TOKENS = 4096
"""How long an answer may be that neither the client nor the member's configuration bounds, at most."""


IMAGE_TOKENS = 3000
"""What an image is taken to be, in tokens."""


_MESSAGE_TOKENS = 8


TOKENIZER_MISMATCH = 1.5
"""How many tokens of one model's a token of another's may be, at the high end."""


_BLOCK_TOKENS = 8
"""Minimum number of tokens of a block, in the bound on a candidate of maximum length."""


_REFERENCE_TOKENS = 14


_LETTERS = re.compile(r"[A-Za-z]+")


def estimate_prompt_tokens(request: Request) -> int:
    """An estimate of a prompt's tokens, at the high end: two ASCII letters are one at least, every other byte is
    one."""
    texts = [message.text for message in request.messages]
    texts += [f"{call.name}{call.arguments}" for message in request.messages for call in message.tool_calls]
    texts += [json.dumps([tool.name, tool.description, tool.parameters], default=str) for tool in request.tools]
    if request.response_schema is not None:
        texts.append(json.dumps(request.response_schema.schema, default=str))
    text_tokens = sum(map(_tokens, texts)) + _MESSAGE_TOKENS * (len(request.messages) + 1)
    return text_tokens + IMAGE_TOKENS * len(request.images)


@dataclass(slots=True)
class Budget:
    """What one request may still spend, in US dollars."""

    max_cost_usd: float
    profiles: Mapping[str, MemberProfile]
    spent_usd: float = 0.0
    under_way_usd: float = 0.0

    def bounded(self, call: Call) -> Call:
        """The call, with an end to how long its answer can be."""
        most = _output_tokens(call.request, self.profiles[call.member])
        sampling = replace(call.request.sampling, max_tokens=most)
        return replace(call, request=replace(call.request, sampling=sampling))

    def reserve(self, call: Call) -> float | None:
        """Set aside what a bounded call can cost. None, and nothing, when that is more than there is."""
        profile = self.profiles[call.member]
        system_tokens = _tokens(profile.system or "") if call.purpose == "answer" else 0
        input_tokens = estimate_prompt_tokens(call.request) + system_tokens
        bound_usd = _price(profile).of(input_tokens, call.request.sampling.max_tokens or 0)
        if self.spent_usd + self.under_way_usd + bound_usd > self.max_cost_usd:
            return None
        self.under_way_usd += bound_usd
        return bound_usd

    def settle(self, bound_usd: float, outcome: Completion | MemberError | None, cost_usd: float | None) -> None:
        """Book a call that has ended: at its reported cost, else at its bound; at nothing if it never began. `outcome`
        is None for a call that was cancelled."""
        self.under_way_usd -= bound_usd
        if cost_usd is not None:
            self.spent_usd += cost_usd
        elif outcome is None or isinstance(outcome, Completion | MemberTimeout | MalformedReply):
            self.spent_usd += bound_usd


def within_budget(task: Task) -> tuple[Task, Budgeted | None]:
    """The task with as much of its panel as its budget pays for, and what was planned; None without a budget.

    While the whole plan may cost more than the budget, the member leaves whose leaving saves the most, and of equals
    the least trusted. The quorum of the panel as it was always stays.

    Raises:
        PriceUnknown: a member or judge has no price.
        BudgetTooSmall: not even a quorum of the cheapest is paid for; the error says what would do.
    """
    preset = task.preset
    budget_usd = preset.policy.max_cost_usd
    if budget_usd is None:
        return task, None
    unpriced = [name for name in dict.fromkeys((*preset.panel, *preset.judges)) if task.profiles[name].price is None]
    if unpriced:
        raise PriceUnknown(
            f"a budget needs the price of every member that may be asked, and none is configured for "
            f"{', '.join(unpriced)}; for one that costs nothing set both prices to 0",
            param="fusion.max_cost_usd",
        )
    at_least = preset.quorum
    panel = preset.panel
    planned_usd = planned_cost_usd(task, panel)
    while planned_usd > budget_usd:
        if len(panel) <= at_least:
            raise BudgetTooSmall(
                f"{budget_usd:g} US dollars are too few: {planned_usd:.6f} is the least that would do, with "
                f"{', '.join(panel)}",
                least_usd=planned_usd,
                param="fusion.max_cost_usd",
            )
        without = [tuple(other for other in panel if other != member) for member in reversed(panel)]
        panel = min(without, key=lambda fewer: planned_cost_usd(task, fewer))
        planned_usd = planned_cost_usd(task, panel)
    pruned = tuple(member for member in preset.panel if member not in panel)
    affordable = replace(task, preset=replace(preset, panel=panel)) if pruned else task
    return affordable, Budgeted(budget_usd, planned_usd, pruned)


def planned_cost_usd(task: Task, panel: Sequence[str]) -> float:
    """What the whole plan costs at most with this panel: every member, every rebuttal, the first judge model or all of
    a jury, the analysis, and the check of a merge."""
    return _Plan(task, panel).cost_usd()


@dataclass(frozen=True, slots=True)
class _Plan:
    """The calls that a panel's plan makes. Their prompts are the real ones, with candidates as long as they may be."""

    task: Task
    panel: Sequence[str]

    def cost_usd(self) -> float:
        preset, request, profiles = self.task.preset, self.task.request, self.task.profiles
        ballot = self._ballot(self.panel)
        total_usd = 0.0
        for member in self.panel:
            profile = profiles[member]
            system_tokens = _tokens(profile.system or "")
            writes = self._writes(member)
            total_usd += _price(profile).of(estimate_prompt_tokens(request) + system_tokens, writes)
            if preset.mode == "debate" and len(self.panel) > 1:
                rebuttal = estimate_prompt_tokens(rebuttal_request(request, ballot.candidates[0], ballot))
                shown = rebuttal + self._tokens_when_quoted(self.panel) + system_tokens
                total_usd += preset.rounds * _price(profile).of(shown, writes)
        if len(self.panel) == 1 or not preset.judges:
            return total_usd
        return total_usd + self._analysis_usd(ballot) + self._decision_usd(ballot)

    def _decision_usd(self, ballot: Ballot) -> float:
        preset, request, judges = self.task.preset, self.task.request, self.task.preset.judges
        if preset.decides_by == "best-of":
            return self._verdict_usd(
                judges if preset.jury else judges[:1], ballot, self._tokens_when_quoted(self.panel)
            )
        writer = judges[0]
        noted = math.ceil(TOKENIZER_MISMATCH * self._analysis_tokens(ballot)) if preset.analysis == "before" else 0
        references = self._reference_tokens() if preset.verbatim else 0
        shown = (
            estimate_prompt_tokens(merge_request(request, ballot))
            + self._tokens_when_quoted(self.panel)
            + noted
            + references
        )
        merge_usd = _price(self.task.profiles[writer]).of(shown, self._writes(writer))
        if not preset.no_harm or request.response_schema is not None:
            return merge_usd
        best = max(self.panel, key=self._writes)
        checking = judges if preset.jury else [judge for judge in judges if judge != writer][:1] or [writer]
        best_usd = self._verdict_usd([writer], ballot, self._tokens_when_quoted(self.panel))
        return (
            merge_usd
            + best_usd
            + self._verdict_usd(checking, self._ballot((writer, best)), self._tokens_when_quoted([writer, best]))
        )

    def _verdict_usd(self, judges: Sequence[str], ballot: Ballot, retold: int) -> float:
        asked = verdict_request(self.task.request, ballot, self.task.preset.rubric)
        calls = 2 if self.task.preset.both_orders else 1
        prices = [_price(self.task.profiles[judge]) for judge in judges]
        tokens = estimate_prompt_tokens(asked) + retold
        return calls * sum(price.of(tokens, asked.sampling.max_tokens or 0) for price in prices)

    def _analysis_usd(self, ballot: Ballot) -> float:
        preset = self.task.preset
        if preset.analysis == "off":
            return 0.0
        asked = analysis_request(self.task.request, ballot)
        tokens = estimate_prompt_tokens(asked) + self._tokens_when_quoted(self.panel)
        return _price(self.task.profiles[preset.judges[0]]).of(tokens, asked.sampling.max_tokens or 0)

    def _analysis_tokens(self, ballot: Ballot) -> int:
        return analysis_request(self.task.request, ballot).sampling.max_tokens or 0

    def _ballot(self, members: Sequence[str]) -> Ballot:
        silent = [Candidate(member, "answered", 0.0, completion=Completion("")) for member in members]
        return blind(silent, self.task.request, self.task.seed)

    def _tokens_when_quoted(self, members: Sequence[str]) -> int:
        return math.ceil(TOKENIZER_MISMATCH * sum(map(self._writes, members)))

    def _reference_tokens(self) -> int:
        """What references to blocks add to the drafts."""
        blocks = sum(min(MAX_BLOCKS, self._writes(member) // _BLOCK_TOKENS) for member in self.panel)
        return _tokens(REFERRING) + _REFERENCE_TOKENS * blocks

    def _writes(self, member: str) -> int:
        return _output_tokens(self.task.request, self.task.profiles[member])


def _output_tokens(request: Request, profile: MemberProfile) -> int:
    bound = max_answer_tokens(profile, request)
    if not bound and profile.context_tokens is not None:
        return min(MAX_OUTPUT_TOKENS, max(1, int(profile.context_tokens * ANSWER_SHARE)))
    return bound or MAX_OUTPUT_TOKENS


def _tokens(text: str) -> int:
    letters = sum(len(run.group()) // 2 for run in _LETTERS.finditer(text))
    return len(text.encode()) - letters


def _price(profile: MemberProfile) -> Price:
    assert profile.price is not None
    return profile.price

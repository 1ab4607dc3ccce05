"""Which tools to call, when several candidates call some: a vote, without a judge model.

First it is decided whether to call at all, then which functions, then, argument by argument, with which values. Each
vote goes to what most say, and of equals to what the most trusted member says. Arguments are compared by value. A call
is made only if a member made exactly that call: where the winning values belong to different members' calls, the
arguments are settled one after the other, the one that most agree on first, among the calls that are still in the
running (docs/decisions/0050-tool-calls-are-voted-on.md).

Voting among samples is self-consistency (arXiv 2203.11171), here by the parts of a structured answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from fusion.chat import Completion, Request, ToolCall
from fusion.results import Candidate, ToolVote, VotedCall
from fusion.structured.plurality import plurality
from fusion.structured.tool_rules import is_possible, makes_required_call, requires_call
from fusion.text.json_text import canonical_by_value, read_json


@dataclass(frozen=True, slots=True)
class Turn:
    """What one member did. `calls` are readable: a function that there is, with arguments that follow its schema."""

    candidate: Candidate
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A call and its arguments by name, each as the text that equal values share."""

    made: ToolCall
    arguments: Mapping[str, str]

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What makes two calls the same."""
        return self.made.name, tuple(sorted(self.arguments.items()))


def calls_tools(candidates: Sequence[Candidate]) -> bool:
    """Whether any candidate does."""
    return any(candidate.completion and candidate.completion.tool_calls for candidate in candidates)


def vote(candidates: Sequence[Candidate], request: Request) -> tuple[Completion | None, ToolVote]:
    """The calls that win, as a completion, or None when the words do; and how the vote went.

    `candidates` have answered and come in order of trust. A turn that the request does not allow has no vote as long as
    another does: a function that there is not, arguments that break its schema, several calls where
    `parallel_tool_calls` is false, calls where `tool_choice` is `none`, and none where it is `required`.
    """
    turns = [Turn(candidate, _readable(candidate, request)) for candidate in candidates]
    allowed = [turn for turn in turns if _is_allowed(turn, request)] or turns
    calling = _winners(allowed, lambda turn: bool(_made(turn)))
    others = tuple(turn.candidate.member for turn in turns if turn not in calling)
    if not _made(calling[0]):
        return None, ToolVote("text", tuple(turn.candidate.member for turn in calling), others)
    if not any(turn.calls for turn in calling):  # nothing that could be compared
        first = calling[0].candidate
        assert first.completion is not None
        won = tuple(VotedCall(made.name, {}) for made in first.completion.tool_calls)
        return first.completion, ToolVote("calls", (first.member,), others, won)
    voters = _winners(calling, _functions)
    out = tuple(turn.candidate.member for turn in turns if turn not in voters)
    chosen = [_settled(seats) for seats in _aligned(voters)]
    completion = _completion(chosen, voters)
    voted = tuple(_voted(call, seats) for call, seats in zip(chosen, _aligned(voters), strict=True))
    return completion, ToolVote("calls", tuple(turn.candidate.member for turn in voters), out, voted)


def _readable(candidate: Candidate, request: Request) -> tuple[Call, ...]:
    """The candidate's calls, none when one of them cannot be made."""
    completion = candidate.completion
    assert completion is not None
    if not all(is_possible(made, request) for made in completion.tool_calls):
        return ()
    calls: list[Call] = []
    for made in completion.tool_calls:
        named = cast("dict[str, Any]", read_json(made.arguments or "{}"))
        calls.append(Call(made, {name: canonical_by_value(value) for name, value in named.items()}))
    return tuple(calls)


def _made(turn: Turn) -> tuple[ToolCall, ...]:
    assert turn.candidate.completion is not None
    return turn.candidate.completion.tool_calls


def _is_allowed(turn: Turn, request: Request) -> bool:
    made = _made(turn)
    if len(turn.calls) != len(made):
        return False
    choice = request.tool_choice or "auto"
    if choice == "none":
        return not made
    assert turn.candidate.completion is not None
    if requires_call(request) and not makes_required_call(turn.candidate.completion, request):
        return False
    return len(made) < 2 or request.parallel_tool_calls is not False


def _winners(turns: Sequence[Turn], key: Callable[[Turn], object]) -> list[Turn]:
    """The turns that most agree on; of equals those of the most trusted member."""
    keys = [key(turn) for turn in turns]
    winner = plurality(keys)
    return [turn for turn, own in zip(turns, keys, strict=True) if own == winner]


def _functions(turn: Turn) -> tuple[str, ...]:
    return tuple(sorted(call.made.name for call in turn.calls))


def _aligned(voters: Sequence[Turn]) -> list[list[Call]]:
    """For every call of the most trusted voter, what each voter made of it: the call to the same function that has most
    of its arguments, each taken once."""
    seats = [[call] for call in voters[0].calls]
    for turn in voters[1:]:
        left = list(turn.calls)
        for seat in seats:
            first = seat[0]
            same = [call for call in left if call.made.name == first.made.name]
            closest = max(same, key=lambda call: _shared(call, first))
            left.remove(closest)
            seat.append(closest)
    return seats


def _shared(one: Call, other: Call) -> int:
    return sum(other.arguments.get(name) == value for name, value in one.arguments.items())


def _settled(calls: Sequence[Call]) -> Call:
    """The call that wins by its arguments; it is one of these."""
    names = sorted({name for call in calls for name in call.arguments})
    winner = {name: plurality([call.arguments.get(name) for call in calls]) for name in names}
    for call in calls:
        if all(call.arguments.get(name) == value for name, value in winner.items()):
            return call
    running = list(calls)
    open_names = list(names)
    while open_names:
        tallies = {name: Counter(call.arguments.get(name) for call in running) for name in open_names}
        name = max(open_names, key=lambda name: max(tallies[name].values()))
        value = plurality([call.arguments.get(name) for call in running])
        running = [call for call in running if call.arguments.get(name) == value]
        open_names.remove(name)
    return running[0]


def _completion(chosen: Sequence[Call], voters: Sequence[Turn]) -> Completion:
    """A voter's own turn where it made all of these calls, else the calls alone."""
    wanted = sorted(call.identity for call in chosen)
    for turn in voters:
        if sorted(call.identity for call in turn.calls) == wanted:
            assert turn.candidate.completion is not None
            return turn.candidate.completion
    calls: list[ToolCall] = []
    for call in chosen:
        taken = {made.id for made in calls}
        fresh = next(
            name for n in range(len(chosen) + 1) if (name := f"{call.made.id}-{n}" if n else call.made.id) not in taken
        )
        calls.append(replace(call.made, id=fresh))
    return Completion(tool_calls=tuple(calls), finish_reason="tool_calls")


def _voted(chosen: Call, seats: Sequence[Call]) -> VotedCall:
    support = {
        name: sum(seat.arguments.get(name) == value for seat in seats) for name, value in chosen.arguments.items()
    }
    return VotedCall(chosen.made.name, support)

"""How an answer was put together from candidates, where that is more than one judge model's doing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fusion.blocks import BlockKind

How = Literal["agreed", "vote", "median", "judge", "central", "elements"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A member whose candidate had no part in the answer, and why: `invalid_json`, `breaks_schema`, `forbidden_call` or
    `missing_call`."""

    member: str
    reason: str


@dataclass(frozen=True, slots=True)
class VotedCall:
    """A tool call that was chosen. `support` counts, argument by argument, the voters that gave the same value."""

    function: str
    support: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ToolVote:
    """Whether tools are called, who voted for what is called, and who wanted something else."""

    decided: Literal["calls", "text"]
    voters: tuple[str, ...]
    outvoted: tuple[str, ...]
    calls: tuple[VotedCall, ...] = ()


@dataclass(frozen=True, slots=True)
class FusedField:
    """One field of a JSON answer on which candidates differed: its JSON pointer (RFC 6901) and how it was settled."""

    path: str
    how: How


@dataclass(frozen=True, slots=True)
class TakenBlock:
    """A block of the answer that is byte for byte its members' candidates'. The judge model `referred` to it, `copied`
    it, or copied it with changes that do not matter, and it was `restored`."""

    kind: BlockKind
    how: Literal["referred", "copied", "restored"]
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assembly:
    """All of the above, for one answer; what did not take place is empty. `fell_back_to` is the member whose JSON
    answer stands, because the fields that won do not follow the schema together."""

    left_out: tuple[LeftOut, ...] = ()
    tool_vote: ToolVote | None = None
    fields: tuple[FusedField, ...] = ()
    fell_back_to: str | None = None
    blocks: tuple[TakenBlock, ...] = ()

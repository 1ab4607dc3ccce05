"""Prompts that show candidates, made to fit the context of the model that reads them.

Candidates that do not fit together are shortened fairly, and it is noted by how much. Nothing else of a prompt is ever
cut: where the conversation leaves no room for candidates, the call is not made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fusion.ballot import Ballot
from fusion.chat import Call, Message, Request, TextPart
from fusion.errors import ContextExceeded
from fusion.limits.eligibility import (
    ANSWER_SHARE,
    count_tokens,
    max_tokens,
    prompt_bytes,
    prompt_room_tokens,
    request_bytes,
    text_bytes,
)
from fusion.member import MemberProfile
from fusion.presets import Pool
from fusion.results import Shortened
from fusion.text.sanitize import MARK

MIN_SHOWN_TOKENS = 64
"""A candidate that does not fit even when shortened to this makes the call fail."""


_ATTEMPTS = 4


@dataclass(slots=True)
class Fitting:
    """Makes the prompts of one request fit. `cuts` is what that took, by reader, stage and member."""

    pool: Pool
    cuts: dict[tuple[str, str, str], Shortened] = field(default_factory=dict[tuple[str, str, str], Shortened])

    def may_overflow(self, call: Call) -> bool:
        """Whether a call's prompt may exceed its member's context, by the upper bound on its tokens."""
        profile = self.pool.profiles.get(call.member)
        if profile is None:
            return False
        room = prompt_room_tokens(profile, call.request, answer_share=ANSWER_SHARE)
        return room is not None and _bytes(call, profile) > room

    async def fitted(self, call: Call, ballot: Ballot, stage: str) -> Call:
        """The call with as much of the ballot's candidates as its member's context holds.

        Raises:
            ContextExceeded: that would be next to nothing of them.
        """
        profile = self.pool.profiles[call.member]
        room = prompt_room_tokens(profile, call.request, answer_share=ANSWER_SHARE) or 0
        answers = shown_answers(call.request, ballot)
        (total, *sizes), _ = await self._tokens(call, profile, [*answers.values()])
        if total <= room:
            return call
        available = room - (total - sum(sizes))
        for _ in range(_ATTEMPTS):
            level = fair_level(sizes, available)
            if level < min(MIN_SHOWN_TOKENS, max(sizes, default=MIN_SHOWN_TOKENS)):
                break
            cut = {
                member: text if size <= level else shortened(text, len(text) * level // size, _note(size - level, size))
                for (member, text), size in zip(answers.items(), sizes, strict=True)
            }
            shorter = replace(call, request=with_answers(call.request, ballot, cut))
            (found, *shown), estimated = await self._tokens(shorter, profile, [*cut.values()])
            if found <= room:
                for member, tokens, size in zip(answers, shown, sizes, strict=True):
                    if cut[member] != answers[member]:
                        self.cuts[call.member, stage, member] = Shortened(
                            member, call.member, stage, tokens, size, estimated
                        )
                return shorter
            available -= found - room
        raise ContextExceeded(
            f"the prompt has {total} tokens, its context {profile.context_tokens}, and no room is left for candidates: "
            "it was not asked",
            member=call.member,
        )

    async def _tokens(self, call: Call, profile: MemberProfile, texts: Sequence[str]) -> tuple[Sequence[int], bool]:
        """The prompt's tokens and each text's, by the member's own tokenizer, or else an estimate at the high end; and
        whether they are estimated."""
        if call.member in self.pool.tokenizers and (counted := await count_tokens(self.pool, call, texts)):
            return counted, False
        return [max_tokens(_bytes(call, profile)), *(max_tokens(text_bytes(text)) for text in texts)], True


def shown_answers(request: Request, ballot: Ballot) -> dict[str, str]:
    """The candidates as a request shows them, by member, in the order of the ballot."""
    found: dict[str, str] = {}

    def look(member: str, text: str) -> str:
        found[member] = text
        return text

    _rewritten(request, ballot, look)
    return found


def with_answers(request: Request, ballot: Ballot, texts: Mapping[str, str]) -> Request:
    """The request with these texts in the place of the candidates that it shows."""
    return _rewritten(request, ballot, lambda member, _: texts[member])


def _rewritten(request: Request, ballot: Ballot, change: Callable[[str, str], str]) -> Request:
    """The request with what stands between the lines of the ballot's fence, which occurs nowhere else, changed."""
    labels = dict(zip(ballot.labels, (candidate.member for candidate in ballot.candidates), strict=True))
    fence = re.escape(ballot.fence)
    pattern = re.compile(rf"(?<=<answer ([A-Z]) {fence}>\n)(.*?)(?=\n</answer \1 {fence}>)", re.DOTALL)

    def in_text(text: str) -> str:
        return pattern.sub(lambda match: change(labels[match[1]], match[2]), text) if ballot.fence in text else text

    def in_message(message: Message) -> Message:
        if isinstance(message.content, tuple):
            parts = tuple(
                TextPart(in_text(part.text)) if isinstance(part, TextPart) else part for part in message.content
            )
            return replace(message, content=parts)
        return message if message.content is None else replace(message, content=in_text(message.content))

    return replace(request, messages=tuple(map(in_message, request.messages)))


def _bytes(call: Call, profile: MemberProfile) -> int:
    size = request_bytes(call.request)
    return prompt_bytes(profile, size) if call.purpose == "answer" else size


def _note(missing_tokens: int, tokens: int) -> str:
    return f"[… about {missing_tokens:,} of the {tokens:,} tokens of this answer are left out here …]"


_HEAD = 2 / 3  # of what is left: how an answer begins says more of it than how it ends


_NEAR = 0.8  # of a piece must be left for it to end at a line or a word


def fair_level(sizes: Sequence[int], room: int) -> int:
    """The most that each may have so that all together have no more than `room`.

    This is max-min fair (water-filling, Bertsekas and Gallager 1987): what is smaller stays whole, everything larger
    comes down to the same level, and nobody could have more but at the cost of one who has no more than that. The order
    of the sizes does not matter.
    """
    left, waiting = room, len(sizes)
    for size in sorted(sizes):
        if size * waiting > left:
            return max(0, left // waiting)
        left -= size
        waiting -= 1
    return max(sizes, default=0)


def shortened(text: str, keep_chars: int, note: str) -> str:
    """The beginning and the end of a text, with the note on a line of its own between them: no more than so many
    characters, or nothing but the note.

    Both pieces end at a line where there is one near, or else at a word. A line of a judged answer keeps its mark.
    """
    if len(text) <= keep_chars:
        return text
    left = max(0, keep_chars - len(note) - len(MARK) - 2)
    head = _until_boundary(text[: int(left * _HEAD)])
    tail = text[len(text) - (left - int(left * _HEAD)) :]
    tail = _until_boundary(tail[::-1])[::-1]
    begins = len(text) - len(tail)
    line_begins = text.rfind("\n", 0, begins) + 1
    if tail and begins > line_begins and text.startswith(MARK, line_begins):
        tail = MARK + tail
    return "\n".join([*([head.rstrip("\n")] if head else []), note, *([tail.lstrip("\n")] if tail else [])])


def _until_boundary(piece: str) -> str:
    for boundary in ("\n", " "):
        end = piece.rfind(boundary)
        if end >= len(piece) * _NEAR:
            return piece[:end]
    return piece

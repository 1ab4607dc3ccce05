"""Applies a member's system prompt and sampling to its calls."""

from __future__ import annotations

from collections.abc import Sequence

from fusion.chat import Call, Completion
from fusion.limits.eligibility import incapability_of
from fusion.member import Emit, Member, MemberProfile, TokenCounter


class ProfiledMember:
    """Adds a member's system prompt and sampling to each call, for a backend that knows of neither.

    Raises:
        MemberError: the member cannot take the request. As a fallback it may be asked what was checked for another
            member alone.
    """

    def __init__(self, member: Member, profile: MemberProfile) -> None:
        self._member = member
        self._profile = profile

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        if error := incapability_of(self._profile, call.request):
            raise error
        return await self._member.ask(self._profile.apply_to(call), emit)


class ProfiledTokenizer:
    """Counts a member's prompts with its system prompt."""

    def __init__(self, tokenizer: TokenCounter, profile: MemberProfile) -> None:
        self._tokenizer = tokenizer
        self._profile = profile

    async def count(self, call: Call, texts: Sequence[str] = ()) -> Sequence[int]:
        return await self._tokenizer.count(self._profile.apply_to(call), texts)

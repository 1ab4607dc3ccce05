"""A member that speaks with its own voice through a backend that others use too."""

from __future__ import annotations

from collections.abc import Sequence

from fusion.chat import Call, Completion
from fusion.limits.context import unable
from fusion.member import Emit, Member, MemberProfile, TokenCounter


class Voiced:
    """A member whose calls carry its sampling and its system prompt to a backend that knows of neither. A call that it
    cannot take is not made: it may be asked in another member's place, for which its own limits were not looked at."""

    def __init__(self, member: Member, profile: MemberProfile) -> None:
        self._member = member
        self._profile = profile

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        if error := unable(self._profile, call.request):
            raise error
        return await self._member.ask(self._profile.apply_to(call), emit)


class VoicedTokenizer:
    """A member's tokenizer, which counts its system prompt too."""

    def __init__(self, tokenizer: TokenCounter, profile: MemberProfile) -> None:
        self._tokenizer = tokenizer
        self._profile = profile

    async def count(self, call: Call, texts: Sequence[str] = ()) -> Sequence[int]:
        return await self._tokenizer.count(self._profile.apply_to(call), texts)

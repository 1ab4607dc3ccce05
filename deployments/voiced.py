"""A member that speaks with its own voice through a backend that others use too."""

from __future__ import annotations

from fusion.member import Emit, Member, MemberProfile
from fusion.values import Call, Completion


class Voiced:
    """A member whose calls carry its sampling and its system prompt to a backend that knows of neither."""

    def __init__(self, member: Member, profile: MemberProfile) -> None:
        self._member = member
        self._profile = profile

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        return await self._member.ask(self._profile.voiced(call), emit)

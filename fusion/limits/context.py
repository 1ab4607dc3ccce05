"""Which members can take a request: whether their model takes images, and whether the prompt fits into its context."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fusion.chat import Call, Message, Request, TextPart
from fusion.errors import ContextExceeded, MemberError, MemberRejected, TakesNoImages
from fusion.member import MemberProfile
from fusion.presets import Pool, Task
from fusion.results import Candidate

UNSEEN = "[An image is here that you cannot see.]"
"""What a judge model that takes no images is shown in the place of each."""


def askable(task: Task, counted: Mapping[str, int]) -> Task:
    """The task for those of its panel that can take the request; the quorum is theirs. `counted` are the prompt's
    tokens by member, as far as they were counted.

    Raises:
        MemberRejected: nobody is left, or fewer than the quorum that the preset fixes. It is `TakesNoImages` or
            `ContextExceeded` where all that are left out are so for the same reason.
    """
    if not _may_be_too_much(task):
        return task
    preset, request = task.preset, heard_by_panel(task)
    size, has_images = size_bytes(request), bool(request.images)
    errors = {
        member: error
        for member in preset.panel
        if (error := _unable(task.profiles[member], request, size, counted.get(member), has_images=has_images))
    }
    if not errors:
        return task
    panel = tuple(member for member in preset.panel if member not in errors)
    needed = 1 if preset.policy.quorum is None else preset.quorum
    if len(panel) < needed:
        raise _refusal(list(errors.values()), len(panel), needed)
    left_out = tuple(Candidate(member, "failed", 0.0, failure=error.as_failure()) for member, error in errors.items())
    return replace(task, preset=replace(preset, panel=panel), left_out=left_out)


def unable(profile: MemberProfile, request: Request, tokens: int | None = None) -> MemberError | None:
    """Why a member cannot take a request, None when it can or may. `tokens` are the prompt's, if they were counted."""
    if profile.takes_images and profile.context_tokens is None:
        return None
    return _unable(profile, request, size_bytes(request), tokens, has_images=bool(request.images))


def in_doubt(profile: MemberProfile, request: Request, size: int) -> bool:
    """Whether the tokens of a prompt of so many bytes have to be counted to know if the member's window holds it."""
    room = _room_tokens(profile, request)
    return room is not None and heard_bytes(profile, size) > room


def without_images(request: Request) -> Request:
    """The request for a model that takes no images, with a note where each of them is."""
    return replace(request, messages=tuple(map(_without_images, request.messages)))


def _without_images(message: Message) -> Message:
    if not isinstance(message.content, tuple):
        return message
    texts = [part.text if isinstance(part, TextPart) else UNSEEN for part in message.content]
    return replace(message, content="\n\n".join(texts))


def heard_by_panel(task: Task) -> Request:
    """The request as the panel is asked it."""
    sampling = task.panel_sampling.over(task.request.sampling)
    return task.request if sampling is task.request.sampling else replace(task.request, sampling=sampling)


def _may_be_too_much(task: Task) -> bool:
    profiles = [task.profiles[member] for member in task.preset.panel]
    return any(profile.context_tokens is not None or not profile.takes_images for profile in profiles)


def _unable(
    profile: MemberProfile, request: Request, size: int, tokens: int | None, *, has_images: bool
) -> MemberError | None:
    if has_images and not profile.takes_images:
        return TakesNoImages("it takes no images, and was not asked", member=profile.name)
    room = _room_tokens(profile, request)
    if room is None or heard_bytes(profile, size) <= room:
        return None
    estimate = most_tokens if profile.truncates_silently else fewest_tokens
    has = estimate(heard_bytes(profile, size)) if tokens is None else tokens
    if has <= room:
        return None
    prompt = f"{has} tokens" if tokens is not None else f"some {has} tokens by its length"
    wanted = answer_tokens(profile, request)
    answer = f" and its answer {wanted}" if wanted else ""
    return ContextExceeded(
        f"the prompt has {prompt}{answer}, its context {profile.context_tokens}: it was not asked", member=profile.name
    )


def _room_tokens(profile: MemberProfile, request: Request) -> int | None:
    """How many tokens a prompt may have; None when that is not known."""
    if profile.context_tokens is None:
        return None
    return profile.context_tokens - max(1, answer_tokens(profile, request))


def _refusal(errors: Sequence[MemberError], left: int, needed: int) -> MemberRejected:
    who = f"fewer members of the panel than its quorum of {needed}" if left else "no member of the panel"
    why = "; ".join(f"{error.member}: {error.message}" for error in errors)
    if all(isinstance(error, TakesNoImages) for error in errors):
        return TakesNoImages(f"{who} can take images ({why})")
    if all(isinstance(error, ContextExceeded) for error in errors):
        return ContextExceeded(f"{who} can take a prompt of this length ({why})")
    return MemberRejected(f"{who} can take the request ({why})")


PATIENCE_S = 5.0
"""How long a tokenizer may take. One that takes longer counts as none."""


async def counted(task: Task, pool: Pool, left_s: float) -> Mapping[str, int]:
    """The prompt's tokens for every member of the panel of whom it is in doubt whether its context holds them. Nobody
    is asked in most cases."""
    if not pool.tokenizers:
        return {}
    request = heard_by_panel(task)
    size = size_bytes(request)
    doubtful = [
        member
        for member in task.preset.panel
        if member in pool.tokenizers and in_doubt(task.profiles[member], request, size)
    ]
    if not doubtful:
        return {}
    calls = [Call(member, request, left_s) for member in doubtful]
    found = await asyncio.gather(*(tokens_of(pool, call) for call in calls))
    return {member: tokens[0] for member, tokens in zip(doubtful, found, strict=True) if tokens}


async def tokens_of(pool: Pool, call: Call, texts: Sequence[str] = ()) -> Sequence[int] | None:
    """The tokens of a call's prompt, then of each text, by the tokenizer of its member, which has one; None when that
    does not say."""
    try:
        async with asyncio.timeout(min(call.timeout_s, PATIENCE_S)):
            return await pool.tokenizers[call.member].count(call, texts)
    except (MemberError, TimeoutError):
        return None


MOST_BYTES_A_TOKEN = 5


FEWEST_BYTES_A_TOKEN = 3
"""Hardly any text of some length has longer or shorter tokens on average: English prose has about 4.5 bytes a token,
code and Chinese have about 3."""


ANSWER_SHARE = 0.25
"""The share of a context that is kept for an answer whose length nobody bounds."""


_TEMPLATE_BYTES = 256


_MESSAGE_BYTES = 32


def size_bytes(request: Request) -> int:
    """The bytes of everything that a model is shown of a request, with what a chat template adds, at the high end;
    images have none.

    A token is a byte at least, so a prompt has no more tokens than this.
    """
    size = _TEMPLATE_BYTES + _MESSAGE_BYTES * len(request.messages)
    for message in request.messages:
        size += text_bytes(message.text)
        for call in message.tool_calls:
            size += text_bytes(call.name) + text_bytes(call.arguments)
    for tool in request.tools:
        size += _MESSAGE_BYTES + text_bytes(json.dumps([tool.name, tool.description, tool.parameters], default=str))
    return size


def text_bytes(text: str) -> int:
    """A text's length in UTF-8, which costs nothing where it is all ASCII."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def heard_bytes(profile: MemberProfile, size: int) -> int:
    """The bytes of a request as a member answers it: with its own system prompt."""
    return size + text_bytes(profile.system or "")


def answer_tokens(profile: MemberProfile, request: Request) -> int:
    """How long a member's answer may be, 0 where nobody says."""
    return request.sampling.max_tokens or profile.sampling.max_tokens or 0


def fewest_tokens(size: int) -> int:
    """How few tokens so many bytes may be: an estimate, for models whose tokenizer is not at hand."""
    return size // MOST_BYTES_A_TOKEN


def most_tokens(size: int) -> int:
    """How many tokens so many bytes may be, in the same way."""
    return -(-size // FEWEST_BYTES_A_TOKEN)

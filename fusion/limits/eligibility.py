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

IMAGE_PLACEHOLDER = "[An image is here that you cannot see.]"
"""Stands for each image in a prompt to a judge model that takes none."""


def drop_incapable_members(task: Task, prompt_tokens: Mapping[str, int], size: int | None = None) -> Task:
    """Take the members that cannot take the request out of the panel; the quorum is that of the others.

    Args:
        task: what is asked, and of whom.
        prompt_tokens: the prompt's tokens by member, for those whose tokenizer counted them.
        size: the prompt's bytes, if they are known already.

    Raises:
        MemberRejected: no member is left, or fewer than the quorum that the preset fixes. It is `TakesNoImages` or
            `ContextExceeded` where that is the reason for each member that was taken out.
    """
    if not _needs_capacity_check(task):
        return task
    preset, request = task.preset, panel_request(task)
    size, has_images = request_bytes(request) if size is None else size, bool(request.images)
    errors = {
        member: error
        for member in preset.panel
        if (
            error := _incapability(
                task.profiles[member], request, size, prompt_tokens.get(member), has_images=has_images
            )
        )
    }
    if not errors:
        return task
    panel = tuple(member for member in preset.panel if member not in errors)
    needed = 1 if preset.policy.quorum is None else preset.quorum
    if len(panel) < needed:
        raise _refusal(list(errors.values()), len(panel), needed)
    left_out = tuple(Candidate(member, "failed", 0.0, failure=error.as_failure()) for member, error in errors.items())
    return replace(task, preset=replace(preset, panel=panel), left_out=left_out)


def incapability_of(profile: MemberProfile, request: Request, tokens: int | None = None) -> MemberError | None:
    """Why a member cannot take a request; None if it can or may. `tokens` are the prompt's, if they were counted."""
    if profile.takes_images and profile.context_tokens is None:
        return None
    return _incapability(profile, request, request_bytes(request), tokens, has_images=bool(request.images))


def needs_token_count(profile: MemberProfile, request: Request, size: int) -> bool:
    """Whether the tokens of a prompt of `size` bytes must be counted to know if the member's context holds it."""
    room = prompt_room_tokens(profile, request)
    return room is not None and prompt_bytes(profile, size) > room


def without_images(request: Request) -> Request:
    """The request for a model that takes no images, with a placeholder for each."""
    return replace(request, messages=tuple(map(_without_images, request.messages)))


def _without_images(message: Message) -> Message:
    if not isinstance(message.content, tuple):
        return message
    texts = [part.text if isinstance(part, TextPart) else IMAGE_PLACEHOLDER for part in message.content]
    return replace(message, content="\n\n".join(texts))


def panel_request(task: Task) -> Request:
    """The request as the panel receives it."""
    sampling = task.panel_sampling.over(task.request.sampling)
    return task.request if sampling is task.request.sampling else replace(task.request, sampling=sampling)


def _needs_capacity_check(task: Task) -> bool:
    profiles = [task.profiles[member] for member in task.preset.panel]
    return any(profile.context_tokens is not None or not profile.takes_images for profile in profiles)


def _incapability(
    profile: MemberProfile, request: Request, size: int, tokens: int | None, *, has_images: bool
) -> MemberError | None:
    if has_images and not profile.takes_images:
        return TakesNoImages("it takes no images, and was not asked", member=profile.name)
    room = prompt_room_tokens(profile, request)
    if room is None or prompt_bytes(profile, size) <= room:
        return None
    estimate = max_tokens if profile.truncates_silently else min_tokens
    has = estimate(prompt_bytes(profile, size)) if tokens is None else tokens
    if has <= room:
        return None
    prompt = f"{has} tokens" if tokens is not None else f"some {has} tokens by its length"
    wanted = max_answer_tokens(profile, request)
    answer = f" and its answer {wanted}" if wanted else ""
    return ContextExceeded(
        f"the prompt has {prompt}{answer}, its context {profile.context_tokens}: it was not asked", member=profile.name
    )


def prompt_room_tokens(profile: MemberProfile, request: Request, *, answer_share: float = 0.0) -> int | None:
    """How many tokens a prompt may have so that its answer fits too; None if the member's context is unknown.

    An answer without a length limit takes `answer_share` of the context, and at least one token.
    """
    if profile.context_tokens is None:
        return None
    return profile.context_tokens - (
        max_answer_tokens(profile, request) or max(1, int(profile.context_tokens * answer_share))
    )


def _refusal(errors: Sequence[MemberError], left: int, needed: int) -> MemberRejected:
    who = f"fewer members of the panel than its quorum of {needed}" if left else "no member of the panel"
    why = "; ".join(f"{error.member}: {error.message}" for error in errors)
    if all(isinstance(error, TakesNoImages) for error in errors):
        return TakesNoImages(f"{who} can take images ({why})")
    if all(isinstance(error, ContextExceeded) for error in errors):
        return ContextExceeded(f"{who} can take a prompt of this length ({why})")
    return MemberRejected(f"{who} can take the request ({why})")


TOKENIZER_TIMEOUT_S = 5.0
"""A tokenizer that takes longer counts as unavailable."""


async def keep_capable_members(task: Task, pool: Pool, left_s: float) -> Task:
    """Take the members that cannot take the request out of the panel.

    A member's tokenizer is asked only where the prompt's length leaves open whether its context holds it.

    Raises:
        MemberRejected: as `drop_incapable_members` says.
    """
    if not _needs_capacity_check(task):
        return task
    request = panel_request(task)
    size = request_bytes(request)
    uncertain = [
        member
        for member in task.preset.panel
        if member in pool.tokenizers and needs_token_count(task.profiles[member], request, size)
    ]
    if not uncertain:
        return drop_incapable_members(task, {}, size)
    counts = await asyncio.gather(*(count_tokens(pool, Call(member, request, left_s)) for member in uncertain))
    prompt_tokens = {member: count[0] for member, count in zip(uncertain, counts, strict=True) if count}
    return drop_incapable_members(task, prompt_tokens, size)


async def count_tokens(pool: Pool, call: Call, texts: Sequence[str] = ()) -> Sequence[int] | None:
    """The tokens of a call's prompt, then of each text, by the tokenizer of the call's member; None if it fails."""
    try:
        async with asyncio.timeout(min(call.timeout_s, TOKENIZER_TIMEOUT_S)):
            return await pool.tokenizers[call.member].count(call, texts)
    except (MemberError, TimeoutError):
        return None


MAX_BYTES_PER_TOKEN = 5


MIN_BYTES_PER_TOKEN = 3
"""Average bytes per token of texts of some length: English prose has about 4.5, code and Chinese have about 3."""


ANSWER_SHARE = 0.25
"""The share of a context that is kept for an answer without a length limit."""


_TEMPLATE_BYTES = 256


_MESSAGE_BYTES = 32


def request_bytes(request: Request) -> int:
    """Upper bound on the bytes of a prompt, with what a chat template adds; images count as none.

    A token is at least one byte, so it is an upper bound on the prompt's tokens too.
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
    """The length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def prompt_bytes(profile: MemberProfile, size: int) -> int:
    """The bytes of a member's prompt: the request's `size` and the member's own system prompt."""
    return size + text_bytes(profile.system or "")


def max_answer_tokens(profile: MemberProfile, request: Request) -> int:
    """The limit on a member's answer; 0 if there is none."""
    return request.sampling.max_tokens or profile.sampling.max_tokens or 0


def min_tokens(size: int) -> int:
    """Estimated lower bound on the tokens in `size` bytes."""
    return size // MAX_BYTES_PER_TOKEN


def max_tokens(size: int) -> int:
    """Estimated upper bound on the tokens in `size` bytes."""
    return -(-size // MIN_BYTES_PER_TOKEN)

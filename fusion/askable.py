"""Who can take a request at all: its images, and its length.

It is found out before anyone is asked. A member that cannot is left out of the panel, as if it were not in it, and is
reported. Whether a window holds a prompt needs no counting in most cases, for a token is a byte at least; where that
does not settle it, the tokens are counted by the member's own tokenizer. Where there is none they are estimated at the
low end, so that nobody is left out that might have answered; but at the high end for a backend that would cut the
prompt without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fusion.chat import Message, Request, TextPart
from fusion.errors import ContextExceeded, MemberError, MemberRejected, TakesNoImages
from fusion.member import MemberProfile
from fusion.presets import Task
from fusion.prompt_size import answer_tokens, fewest_tokens, heard_bytes, most_tokens, size_bytes
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
    left_out = [
        Candidate(member, "failed", 0.0, error=error)
        for member in preset.panel
        if (error := _unable(task.profiles[member], request, size, counted.get(member), has_images=has_images))
    ]
    if not left_out:
        return task
    out = {candidate.member for candidate in left_out}
    panel = tuple(member for member in preset.panel if member not in out)
    needed = 1 if preset.policy.quorum is None else preset.quorum
    if len(panel) < needed:
        raise _refusal([candidate.error for candidate in left_out if candidate.error], len(panel), needed)
    return replace(task, preset=replace(preset, panel=panel), left_out=tuple(left_out))


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
    estimate = most_tokens if profile.cuts_prompts else fewest_tokens
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

"""Finding candidates that a judge model may favour because they are its own kind.

Models favour text that they recognise as their own (arXiv 2404.13076, 2410.21819), and that of their family. Names are
never shown to them; where kin are in the panel nevertheless, the verdict says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fusion.member import MemberProfile
from fusion.results import Bond, Kin

_FAMILIES: tuple[tuple[str, str], ...] = (
    ("deepseek", r"deepseek"),  # before those that it was distilled into
    ("mistral", r"mixtral|mistral|ministral|codestral|devstral|magistral|pixtral|zephyr"),
    ("gpt", r"gpt|chatgpt|o[134](?:-mini|-pro|-preview)?|davinci"),
    ("claude", r"claude"),
    ("gemini", r"gemini|gemma|palm"),
    ("llama", r"llama|vicuna|alpaca|nemotron"),
    ("qwen", r"qwen\d*|qwq"),
    ("grok", r"grok"),
    ("command", r"command|c4ai|aya"),
    ("phi", r"phi"),
    ("glm", r"glm|chatglm"),
    ("kimi", r"kimi|moonshot"),
    ("yi", r"yi"),
    ("falcon", r"falcon"),
    ("smollm", r"smollm\d*"),
    ("granite", r"granite"),
    ("nova", r"nova"),
    ("jamba", r"jamba"),
    ("minimax", r"minimax"),
)


# A name's words: digits and punctuation part them, but `qwen2` and `o3` stay whole.
_KNOWN = [(family, re.compile(rf"(?<![a-z])(?:{names})(?![a-z])", re.I)) for family, names in _FAMILIES]


def family_of(profile: MemberProfile) -> str | None:
    """Return the family of a member's model, from its profile or else from its name; None when unknown."""
    if profile.family is not None:
        return profile.family
    return next((family for family, known in _KNOWN if known.search(profile.model)), None)


def kin(judge: MemberProfile, members: Sequence[MemberProfile]) -> tuple[Kin, ...]:
    """Return the members that are kin of the judge model, each with its closest bond."""
    return tuple(Kin(member.name, judge.name, bond) for member in members if (bond := _bond(judge, member)) is not None)


def _bond(judge: MemberProfile, member: MemberProfile) -> Bond | None:
    if judge.name == member.name:
        return "member"
    if judge.model == member.model:
        return "model"
    family = family_of(judge)
    if family is not None and family == family_of(member):
        return "family"
    return "backend" if judge.backend == member.backend else None

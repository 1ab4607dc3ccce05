"""The calls that a load of fused requests makes to each member."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.config.schema import ClusterConfig, PresetConfig

JUDGING_TOKENS = 400
"""Allowance for the judge's instructions, and for a verdict."""


@dataclass(frozen=True, slots=True)
class Load:
    """A load of equal fused requests."""

    rps: float
    """Fused requests per second."""
    prompt_tokens: int
    output_tokens: int
    """Tokens of each answer."""
    preset: str | None = None
    """None stands for the configuration's default preset."""


@dataclass(frozen=True, slots=True)
class MemberCall:
    """Equal calls to a member."""

    member: str
    times: float
    """Calls per fused request."""
    input_tokens: int
    output_tokens: int


def calls_of(config: ClusterConfig, load: Load) -> tuple[MemberCall, ...]:
    """Returns the calls of one fused request if no member is late or fails and the first judge decides.

    Raises:
        ValueError: the configuration does not have the preset.
    """
    name = load.preset or config.default_preset
    if name not in config.presets:
        raise ValueError(f"there is no preset {name!r}; known are {', '.join(config.presets)}")
    preset = config.presets[name]
    answers = {member: _answer(config, member, load.output_tokens) for member in preset.panel}
    shared_tokens = load.prompt_tokens + sum(answers.values())
    calls = [MemberCall(member, 1, load.prompt_tokens, tokens) for member, tokens in answers.items()]
    if preset.mode == "debate":
        # Each member reads the others' answers. An early end by agreement is not assumed.
        calls += [MemberCall(member, preset.rounds or 1, shared_tokens, tokens) for member, tokens in answers.items()]
    judge = preset.judges[0]
    output_tokens = JUDGING_TOKENS if _ends_in_verdict(preset) else _answer(config, judge, load.output_tokens)
    return (*calls, MemberCall(judge, 1, shared_tokens + JUDGING_TOKENS, output_tokens))


def _answer(config: ClusterConfig, member: str, output_tokens: int) -> int:
    return min(output_tokens, config.members[member].max_tokens or output_tokens)


def _ends_in_verdict(preset: PresetConfig) -> bool:
    return preset.mode == "best-of" or preset.decision == "best-of"

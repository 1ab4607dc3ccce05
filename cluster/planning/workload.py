"""What fused requests ask of each member."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.config.schema import ClusterConfig, PresetConfig

JUDGING_TOKENS = 400
"""What the judge is told besides the question and the candidates, and what a verdict takes: an allowance."""


@dataclass(frozen=True, slots=True)
class Load:
    """`rps` fused requests a second of one preset, the configuration's default one if it is None."""

    rps: float
    prompt_tokens: int
    output_tokens: int
    preset: str | None = None


@dataclass(frozen=True, slots=True)
class MemberCall:
    """A call to a member, of which each fused request makes `times`."""

    member: str
    times: float
    input_tokens: int
    output_tokens: int


def calls_of(config: ClusterConfig, load: Load) -> tuple[MemberCall, ...]:
    """The calls of one fused request when all goes well: nobody is late, and the first judge decides.

    Raises:
        ValueError: there is no such preset.
    """
    name = load.preset or config.default_preset
    if name not in config.presets:
        raise ValueError(f"there is no preset {name!r}; known are {', '.join(config.presets)}")
    preset = config.presets[name]
    answers = {member: _answer(config, member, load.output_tokens) for member in preset.panel}
    together = load.prompt_tokens + sum(answers.values())
    calls = [MemberCall(member, 1, load.prompt_tokens, tokens) for member, tokens in answers.items()]
    if preset.mode == "debate":
        # Each reads the others' answers; nobody's agreement is counted on to end it early.
        calls += [MemberCall(member, preset.rounds or 1, together, tokens) for member, tokens in answers.items()]
    judge = preset.judges[0]
    writes = JUDGING_TOKENS if _ends_in_verdict(preset) else _answer(config, judge, load.output_tokens)
    return (*calls, MemberCall(judge, 1, together + JUDGING_TOKENS, writes))


def _answer(config: ClusterConfig, member: str, output_tokens: int) -> int:
    return min(output_tokens, config.members[member].max_tokens or output_tokens)


def _ends_in_verdict(preset: PresetConfig) -> bool:
    return preset.mode == "best-of" or preset.decision == "best-of"

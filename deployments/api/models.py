"""The models that a request may name: presets, and members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any

from deployments.api.chat_request import ChatRequest
from fusion.ballot import MAX_CANDIDATES
from fusion.errors import InvalidRequest, UnknownModel
from fusion.member import MemberProfile
from fusion.presets import SETTINGS_OF_MODES, Criterion, Preset, inapplicable_settings

OPENROUTER_FUSION = "openrouter/fusion"
"""OpenRouter's id for fusion; it means the default preset."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every preset and every member, and the preset of requests that name none."""

    presets: Mapping[str, Preset]
    profiles: Mapping[str, MemberProfile]
    default_preset: str

    def member_of(self, chat: ChatRequest) -> str | None:
        """Returns the member that alone answers a request, None when a panel does.

        That is the member which is the request's model, unless OpenRouter's form asks for fusion all the same. Where
        the form disables fusion, it is the judge model, which would have written the answer.

        Raises:
            UnknownModel: it names neither a member nor a preset.
            InvalidRequest: it names a member and gives fusion options too.
        """
        if chat.model in self.profiles:
            if chat.fuses:
                return None
            if chat.options.model_fields_set and chat.fuses is None:
                raise InvalidRequest(f"{chat.model} is a member: fusion options need a preset as model", param="fusion")
            return chat.model
        if chat.model != OPENROUTER_FUSION and chat.model not in self.presets:
            known = ", ".join([*self.presets, *self.profiles])
            raise UnknownModel(f"there is no model {chat.model!r}; known are {known}", param="model")
        return self.preset_of(chat).judges[0] if chat.fuses is False else None

    def preset_of(self, chat: ChatRequest) -> Preset:
        """Returns the request's preset, with the request's changes applied.

        Raises:
            InvalidRequest: a change names an unknown member or does not fit the preset.
        """
        preset = self._named(chat)
        options = chat.options
        panel = preset.panel if options.panel is None else self._members(options.panel, _param(chat, "panel"))
        if options.judge is None:
            judges = (chat.model,) if chat.model in self.profiles else preset.judges
        else:
            named = [options.judge] if isinstance(options.judge, str) else options.judge
            judges = self._members(named, _param(chat, "judge"))
        mode = options.mode or preset.mode
        if options.quorum is not None and options.quorum > len(panel):
            raise InvalidRequest(f"a quorum of {options.quorum} needs a larger panel", param="fusion.quorum")
        for field, modes in SETTINGS_OF_MODES.items():
            if getattr(options, field) is not None and mode not in modes:
                raise InvalidRequest(f"{field} belongs to the mode {' or '.join(modes)}", param=f"fusion.{field}")
        if mode == "auto" and not preset.agreement.short and preset.agreement.long is None:
            raise InvalidRequest("the mode auto compares answers, which the preset disables", param="fusion.mode")
        changed = {
            name: value
            for name in ("quorum", "deadline_s", "max_cost_usd")
            if (value := getattr(options, name)) is not None
        }
        policy = replace(preset.policy, **changed)
        if options.straggler_grace is not None:
            policy = policy.with_grace(options.straggler_grace)
        analysis = options.analysis or preset.analysis
        if "analysis" in options.include and analysis == "off":
            analysis = "beside"
        preset = replace(
            preset,
            mode=mode,
            panel=panel,
            judges=judges,
            policy=policy,
            rounds=options.rounds or preset.rounds,
            decision=options.decision or preset.decision,
            jury=preset.jury if options.jury is None else options.jury,
            rubric=tuple(starmap(Criterion, (options.rubric or {}).items())) or preset.rubric,
            no_harm=preset.no_harm if options.no_harm is None else options.no_harm,
            analysis=analysis,
            awaits_analysis="analysis" in options.include,
        )
        for name, why in inapplicable_settings(preset):
            if getattr(options, name):
                raise InvalidRequest(why, param=f"fusion.{name}")
        return preset

    def _named(self, chat: ChatRequest) -> Preset:
        name = chat.preset or (chat.model if chat.model in self.presets else self.default_preset)
        if name in self.presets:
            return self.presets[name]
        known = ", ".join(self.presets)
        raise InvalidRequest(f"there is no preset {name!r}; known are {known}", param=_param(chat, "preset"))

    def models(self, created: int) -> dict[str, Any]:
        """Returns the body of `GET /v1/models`."""
        presets = [
            {"kind": "preset", "mode": preset.mode, "panel": preset.panel, "judges": preset.judges}
            for preset in self.presets.values()
        ]
        members = [
            {
                "kind": "member",
                "backend": profile.backend,
                "model": profile.model,
                "images": profile.takes_images,
                "context_tokens": profile.context_tokens,
            }
            for profile in self.profiles.values()
        ]
        named = zip([*self.presets, *self.profiles], [*presets, *members], strict=True)
        base = {"object": "model", "created": created, "owned_by": "fusion-cluster"}
        return {"object": "list", "data": [{"id": name, **base, "fusion": about} for name, about in named]}

    def _members(self, names: Sequence[str], param: str) -> tuple[str, ...]:
        by_model = {profile.model: name for name, profile in reversed([*self.profiles.items()])}
        members: list[str] = []
        for index, name in enumerate(names):
            member = name if name in self.profiles else by_model.get(name)
            if member is None:
                raise InvalidRequest(
                    f"there is no member {name!r}; known are {', '.join(self.profiles)}", param=f"{param}[{index}]"
                )
            if member in members:
                raise InvalidRequest(f"{name!r} is named twice", param=f"{param}[{index}]")
            members.append(member)
        if len(members) > MAX_CANDIDATES:
            raise InvalidRequest(f"at most {MAX_CANDIDATES} members", param=param)
        return tuple(members)


_OPENROUTER_NAMES = {"panel": "analysis_models", "judge": "model"}


def _param(chat: ChatRequest, option: str) -> str:
    """Returns the path of an option in the request's body."""
    if chat.settings_path is None:
        return f"fusion.{option}"
    return f"{chat.settings_path}.{_OPENROUTER_NAMES.get(option, option)}"

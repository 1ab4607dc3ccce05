"""What users may import from `fusion` changes only on purpose."""

from __future__ import annotations

import inspect

import fusion

PUBLIC = {
    "Call": "fusion.chat",
    "Completion": "fusion.chat",
    "Delta": "fusion.chat",
    "Fused": "fusion.results",
    "FusionError": "fusion.errors",
    "Member": "fusion.member",
    "MemberProfile": "fusion.member",
    "Message": "fusion.chat",
    "Policy": "fusion.presets",
    "Pool": "fusion.presets",
    "Preset": "fusion.presets",
    "Request": "fusion.chat",
    "Sampling": "fusion.chat",
    "Task": "fusion.presets",
    "fuse": "fusion.runtime.runner",
}


def test_the_public_names_are_these_and_come_from_where_they_did() -> None:
    assert set(fusion.__all__) == set(PUBLIC)
    assert {name: getattr(fusion, name).__module__ for name in fusion.__all__} == PUBLIC


def test_every_public_name_is_documented() -> None:
    assert all(inspect.getdoc(getattr(fusion, name)) for name in fusion.__all__)


def test_fuse_is_called_as_it_was() -> None:
    parameters = inspect.signature(fusion.fuse).parameters
    assert [(name, parameter.kind.name) for name, parameter in parameters.items()] == [
        ("task", "POSITIONAL_OR_KEYWORD"),
        ("pool", "POSITIONAL_OR_KEYWORD"),
        ("watcher", "KEYWORD_ONLY"),
        ("started_at", "KEYWORD_ONLY"),
        ("observers", "KEYWORD_ONLY"),
        ("call_stats", "KEYWORD_ONLY"),
    ]

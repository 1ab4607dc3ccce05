"""The error tree: complete in its drawing, told apart by codes, and whole after a process boundary."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import re
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import fusion.errors
from fusion.chat import Completion, Usage
from fusion.errors import (
    FusionError,
    MemberError,
    MemberRejected,
    MemberUnavailable,
    unexpected,
    whereabouts,
)
from fusion.results import Candidate, Failure


class Local:
    """Something that a frame holds."""


ATTRIBUTES: dict[str, Any] = {
    "param": "messages[0].role",
    "member": "ada",
    "retry_after_s": 2.5,
    "candidates": (Candidate("ada", "cancelled", 5.0),),
    "timed_out": True,
    "least_usd": 0.25,
    "partial": Completion("It is", finish_reason="length"),
}


def tree(root: type[FusionError] = FusionError) -> Iterator[type[FusionError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == root.__module__:
            yield from tree(child)


TREE = list(tree())


def attributes_of(kind: type[FusionError]) -> dict[str, Any]:
    """A value for every attribute that the class takes."""
    return {name: ATTRIBUTES[name] for name in inspect.signature(kind).parameters if name != "message"}


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_every_error_survives_with_all_of_its_attributes(kind: type[FusionError], duplicate: Any) -> None:
    attributes = attributes_of(kind)
    error = kind("what happened", **attributes)
    twin = duplicate(error)
    assert type(twin) is kind
    assert twin.args == ("what happened",)
    assert str(twin) == twin.message == "what happened"
    assert vars(twin) == vars(error)
    assert {name: getattr(twin, name) for name in attributes} == attributes


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_attribute_may_be_left_out(kind: type[FusionError]) -> None:
    assert pickle.loads(pickle.dumps(kind("what happened"))).message == "what happened"


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_a_failure_has_all_that_its_error_says(kind: type[FusionError]) -> None:
    attributes = attributes_of(kind)
    error = kind("what happened", **attributes)
    usage = None
    if isinstance(error, MemberError):
        error.usage = usage = Usage(3, 4)
    assert error.as_failure() == Failure(
        code=kind.code,
        message="what happened",
        retryable=kind.retryable,
        retry_after_s=attributes.get("retry_after_s"),
        usage=usage,
        rejected=issubclass(kind, MemberRejected),
    )


def test_a_failure_keeps_no_frame_alive() -> None:
    def fail() -> tuple[Failure, weakref.ref[Local]]:
        local = Local()
        try:
            raise MemberUnavailable("refused")
        except MemberUnavailable as error:
            return error.as_failure(), weakref.ref(local)

    failure, local = fail()
    gc.collect()
    assert failure == Failure("unavailable", "refused", retryable=True)
    assert local() is None


def test_codes_are_stable_words_and_told_apart() -> None:
    codes = [kind.code for kind in TREE]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)
    assert all("code" in vars(kind) for kind in TREE)


def test_every_class_says_what_it_means() -> None:
    assert all(kind.__doc__ for kind in TREE)


def test_the_drawing_shows_the_tree_as_it_is() -> None:
    drawn: dict[str, str | None] = {}
    path: list[str] = []
    for line in (fusion.errors.__doc__ or "").splitlines():
        if match := re.match(r"    ((?:[│├└─ ]{4})*)([A-Z]\w+)", line):
            depth = len(match[1]) // 4
            path = [*path[:depth], match[2]]
            drawn[match[2]] = path[-2] if depth else None
    bases = {kind.__name__: kind.__bases__[0].__name__ if kind is not FusionError else None for kind in TREE}
    assert drawn == bases


def test_whereabouts_tell_the_type_and_the_line_but_no_words() -> None:
    try:
        raise ValueError("a secret prompt")
    except ValueError as error:
        told = whereabouts(error)
    assert re.fullmatch(r"ValueError at .*test_errors\.py:\d+", told)
    assert whereabouts(ValueError("a secret prompt")) == "ValueError"


def test_an_error_outside_of_the_tree_means_a_member_that_is_unavailable() -> None:
    error = unexpected(ValueError("a secret prompt"), "ada")
    assert isinstance(error, MemberUnavailable)
    assert error.member == "ada"
    assert "secret" not in error.message

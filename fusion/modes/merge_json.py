"""Merging JSON answers: field by field, with a judge model for free text alone. The result follows the schema.

The judge model writes only the long texts that candidates differ in, under a schema of their own, and is not asked
where there are none. Where no candidate follows the schema it writes the whole answer, under the schema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from jsonschema.protocols import Validator

from fusion.ballot import blind
from fusion.chat import Completion, JsonSchema, Message, Request, TextPart
from fusion.errors import NoValidAnswer
from fusion.judging.prompts import merge_request
from fusion.judging.succession import Succession, first_success
from fusion.modes.outcomes import judge_replaced_reason, single_candidate
from fusion.presets import Task
from fusion.results import Assembly, Candidate, Failure, FusedField
from fusion.steps import AskJudge, Decision, Outcome, Run
from fusion.structured.admission import admitted, answer_in
from fusion.structured.field_fusion import Fields, OpenText, fuse_fields, leaves, pointer, with_texts
from fusion.structured.json_schema import compile_schema, follows
from fusion.text.json_text import NotJson, canonical_by_value, read_json, without_json_fence, write_json

_TEXT_KEYWORDS = frozenset({"description", "title", "minLength", "maxLength"})


_INVALID_JSON = Failure("invalid_json", "the judge model's reply is not the JSON that was asked for")


_BREAKS_SCHEMA = Failure(NoValidAnswer.code, "the judge model's reply does not follow the schema")


async def write_json_answer(run: Run, task: Task, candidates: Sequence[Candidate]) -> Decision:
    """Make one JSON answer from the candidates, which come in order of trust.

    Raises:
        NoValidAnswer: neither a candidate nor a judge model gave one that follows the schema.
    """
    wanted = task.request.response_schema
    assert wanted is not None
    validator = compile_schema(wanted.schema)
    valid, left_out = admitted(task.request, candidates)
    assembly = Assembly(left_out=left_out)
    if not valid:
        return await _write_whole(run, task, candidates, validator, assembly)
    texts = [answer_in(candidate) for candidate in valid]
    if len(valid) == 1:
        decision = single_candidate(task, valid[0])
        return replace(decision, completion=_with_text(decision.completion, texts[0]), assembly=assembly)
    values = [read_json(text) for text in texts]
    fields = fuse_fields(values, wanted.schema)
    written, failures = _Texts(fields.value, tuple(fields.fields)), ()
    if fields.open_texts and follows(validator, fields.value) and "judge" not in task.skips:
        found = await _write_texts(run, task, valid, fields, validator)
        written, failures = found.value or written, found.failures
    value, degraded = written.value, judge_replaced_reason(failures)
    assembly = replace(assembly, fields=written.fields)
    for text, own in zip(texts, values, strict=True):
        if canonical_by_value(own) == canonical_by_value(value):
            return Decision(completion=Completion(text), judge=written.judge, degraded=degraded, assembly=assembly)
    if follows(validator, value):
        completion = Completion(write_json(value))
        return Decision(completion=completion, judge=written.judge, degraded=degraded, assembly=assembly)
    closest = _closest(values, value)
    assembly = replace(assembly, fell_back_to=valid[closest].member)
    return Decision(completion=Completion(texts[closest]), degraded=degraded, assembly=assembly)


@dataclass(frozen=True, slots=True)
class _Texts:
    """A fused value, how its fields were settled, and the judge model that wrote its open texts."""

    value: Any
    fields: tuple[FusedField, ...]
    judge: str | None = None


async def _write_texts(
    run: Run, task: Task, candidates: Sequence[Candidate], fields: Fields, validator: Validator
) -> Succession[_Texts]:
    """Have the judge models in line write the open texts of the fused value."""
    names = {pointer(text.path): text for text in fields.open_texts}
    ballot = blind(candidates, task.request, task.seed)
    request = _texts_request(task.request, merge_request(task.request, ballot), names)

    def asks_of(judge: str, share: float) -> list[AskJudge]:
        return [AskJudge(judge, request, share, ballot=ballot)]

    def read(judge: str, outcomes: Sequence[Outcome]) -> _Texts | Failure:
        [outcome] = outcomes
        if isinstance(outcome, Failure):
            return outcome
        try:
            written = _object_in(outcome)
        except NotJson:
            return _INVALID_JSON
        texts = {names[name].path: text for name, text in written.items() if name in names and isinstance(text, str)}
        value = with_texts(fields.value, texts)
        if len(texts) != len(names) or not follows(validator, value):
            return _BREAKS_SCHEMA
        by_judge = {pointer(path) for path in texts}
        fused = tuple(replace(field, how="judge") if field.path in by_judge else field for field in fields.fields)
        return _Texts(value, fused, outcome.answered_by or judge)

    return await first_success(run, task.preset.judges, asks_of, read)


async def _write_whole(
    run: Run, task: Task, candidates: Sequence[Candidate], validator: Validator, assembly: Assembly
) -> Decision:
    """Have the judge models in line write the whole answer, because no candidate follows the schema."""
    ballot = blind(candidates, task.request, task.seed)
    request = merge_request(task.request, ballot)

    def asks_of(judge: str, share: float) -> list[AskJudge]:
        return [AskJudge(judge, request, share, ballot=ballot)]

    def read(_judge: str, outcomes: Sequence[Outcome]) -> Completion | Failure:
        [outcome] = outcomes
        if isinstance(outcome, Failure):
            return outcome
        text = without_json_fence(outcome.text)
        try:
            return _with_text(outcome, text) if follows(validator, read_json(text)) else _BREAKS_SCHEMA
        except NotJson:
            return _INVALID_JSON

    found = await first_success(run, task.preset.judges, asks_of, read)
    if found.value is None:
        raise NoValidAnswer("neither a candidate nor a judge model gave an answer that follows the schema")
    judge, degraded = found.value.answered_by or found.judge, judge_replaced_reason(found.failures)
    return Decision(completion=found.value, judge=judge, degraded=degraded, assembly=assembly)


def _texts_request(request: Request, merging: Request, names: dict[str, OpenText]) -> Request:
    """Build the merge's request for these fields alone."""
    schema = {
        "type": "object",
        "properties": {name: _text_schema(text) for name, text in names.items()},
        "required": list(names),
        "additionalProperties": False,
    }
    fields = ", ".join(f'"{name}"' for name in names)
    only = f"Write no more of the answer than these fields of it, named by JSON pointers, as one JSON object: {fields}"
    last = merging.messages[-1]
    content = (*last.content, TextPart(only)) if isinstance(last.content, tuple) else f"{last.text}\n\n{only}"
    asked: Message = replace(last, content=content)
    wanted = JsonSchema("fields", schema, request.response_schema.strict if request.response_schema else None)
    return replace(merging, messages=(*merging.messages[:-1], asked), response_schema=wanted)


def _text_schema(text: OpenText) -> dict[str, Any]:
    return {"type": "string"} | {name: value for name, value in text.schema.items() if name in _TEXT_KEYWORDS}


def _object_in(completion: Completion) -> dict[str, Any]:
    value = read_json(without_json_fence(completion.text))
    if not isinstance(value, dict):
        raise NotJson("not an object")
    return cast("dict[str, Any]", value)


def _with_text(completion: Completion, text: str) -> Completion:
    return completion if completion.text == text else replace(completion, text=text)


def _closest(values: Sequence[Any], fused: Any) -> int:
    """Return the index of the value that shares most of its leaves with the fused one; of equals the first."""
    wanted = Counter(leaves(fused))
    shared = [(wanted & (own := Counter(leaves(value)))).total() / max(1, (wanted | own).total()) for value in values]
    return shared.index(max(shared))

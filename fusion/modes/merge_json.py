"""A JSON answer from several: field by field, with a judge model for free text alone. It follows the schema.

The judge model writes only the long texts that candidates differ in, under a schema of their own, and is not asked
where there are none. Where no candidate follows the schema it writes the whole answer, under the schema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, cast

from jsonschema.protocols import Validator

from fusion.ballot import blind
from fusion.chat import Completion, JsonSchema, Message, Request, TextPart
from fusion.errors import MemberError, NoValidAnswer
from fusion.judging.prompts import merge_request
from fusion.modes.outcomes import replaced, unopposed
from fusion.presets import Task
from fusion.results import Assembly, Candidate, FusedField
from fusion.steps import AskJudge, Decision, Plan, Reply, Step, ask_judge
from fusion.structured.admission import admitted, answer_in, unfenced
from fusion.structured.field_fusion import Fields, OpenText, fuse_fields, leaves, pointer, with_texts
from fusion.structured.json_schema import NotJson, canonical, checker, follows, read_json, write_json

_TEXT_KEYWORDS = frozenset({"description", "title", "minLength", "maxLength"})


def write_json_answer(task: Task, candidates: Sequence[Candidate]) -> Plan:
    """One JSON answer from the candidates, which come in order of trust.

    Raises:
        NoValidAnswer: neither a candidate nor a judge model gave one that follows the schema.
    """
    wanted = task.request.response_schema
    assert wanted is not None
    validator = checker(wanted.schema)
    valid, left_out = admitted(task.request, candidates)
    assembly = Assembly(left_out=left_out)
    if not valid:
        return (yield from _write_anew(task, candidates, validator, assembly))
    texts = [answer_in(candidate) for candidate in valid]
    if len(valid) == 1:
        alone = unopposed(task, valid[0])
        return replace(alone, completion=_said(alone.completion, texts[0]), assembly=assembly)
    values = [read_json(text) for text in texts]
    fields = fuse_fields(values, wanted.schema)
    value, fused, judge, failures = fields.value, tuple(fields.fields), None, []
    if fields.open_texts and follows(validator, value) and "judge" not in task.skips:
        value, fused, judge, failures = yield from _texts_written(task, valid, fields, validator)
    assembly = replace(assembly, fields=fused)
    for text, own in zip(texts, values, strict=True):
        if canonical(own) == canonical(value):
            return Decision(Completion(text), judge, degraded=replaced(failures), assembly=assembly)
    if follows(validator, value):
        return Decision(Completion(write_json(value)), judge, degraded=replaced(failures), assembly=assembly)
    closest = _closest(values, value)
    assembly = replace(assembly, fell_back_to=valid[closest].member)
    return Decision(Completion(texts[closest]), degraded=replaced(failures), assembly=assembly)


Failures = list[tuple[str, str]]


_Written = tuple[Any, tuple[FusedField, ...], str | None, Failures]


def _texts_written(
    task: Task, candidates: Sequence[Candidate], fields: Fields, validator: Validator
) -> Generator[Step, Reply, _Written]:
    """The fused value with its open texts as a judge model writes them; as they were when none can."""
    names = {pointer(text.path): text for text in fields.open_texts}
    ballot = blind(candidates, task.request, task.seed)
    request = _texts_request(task.request, merge_request(task.request, ballot), names)
    failures: Failures = []
    for judge, share in task.preset.judge_shares():
        try:
            completion = yield from ask_judge(AskJudge(judge, request, share, ballot=ballot))
            written = _object_in(completion)
        except (MemberError, NotJson) as error:
            failures.append((judge, _code(error)))
            continue
        texts = {names[name].path: text for name, text in written.items() if name in names and isinstance(text, str)}
        value = with_texts(fields.value, texts)
        if len(texts) == len(names) and follows(validator, value):
            by_judge = {pointer(path) for path in texts}
            fused = tuple(replace(field, how="judge") if field.path in by_judge else field for field in fields.fields)
            return value, fused, completion.answered_by or judge, failures
        failures.append((judge, NoValidAnswer.code))
    return fields.value, tuple(fields.fields), None, failures


def _write_anew(task: Task, candidates: Sequence[Candidate], validator: Validator, assembly: Assembly) -> Plan:
    ballot = blind(candidates, task.request, task.seed)
    request = merge_request(task.request, ballot)
    failures: Failures = []
    for judge, share in task.preset.judge_shares():
        try:
            completion = yield from ask_judge(AskJudge(judge, request, share, ballot=ballot))
            if follows(validator, read_json(text := unfenced(completion.text))):
                decided_by = completion.answered_by or judge
                return Decision(_said(completion, text), decided_by, degraded=replaced(failures), assembly=assembly)
            failures.append((judge, NoValidAnswer.code))
        except (MemberError, NotJson) as error:
            failures.append((judge, _code(error)))
    raise NoValidAnswer("neither a candidate nor a judge model gave an answer that follows the schema")


def _texts_request(request: Request, merging: Request, names: dict[str, OpenText]) -> Request:
    """The merge's request, for these fields alone."""
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
    value = read_json(unfenced(completion.text))
    if not isinstance(value, dict):
        raise NotJson("not an object")
    return cast("dict[str, Any]", value)


def _code(error: MemberError | NotJson) -> str:
    return error.code if isinstance(error, MemberError) else "invalid_json"


def _said(completion: Completion, text: str) -> Completion:
    return completion if completion.text == text else replace(completion, text=text)


def _closest(values: Sequence[Any], fused: Any) -> int:
    """Which value shares most of its leaves with the fused one; the earlier of equals."""
    wanted = Counter(leaves(fused))
    shared = [(wanted & (own := Counter(leaves(value)))).total() / max(1, (wanted | own).total()) for value in values]
    return shared.index(max(shared))

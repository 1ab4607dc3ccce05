"""One JSON answer from several, field by field and without a judge model but for free text.

| the candidates' values | what is taken |
| --- | --- |
| equal | that value |
| objects | their fields, one by one; a field that most leave out is left out |
| numbers | the median; of two in the middle the more trusted member's (no number that nobody gave) |
| short texts; texts with an `enum`, `const`, `format` or `pattern`; booleans; null; mixed types | what most say |
| arrays of texts, numbers and the like | the elements that more than half have, in the more trusted member's order |
| arrays of objects or arrays, all of one length | their elements, place by place |
| other arrays | the one that shares most with the others |
| long texts | what more than half say, else a judge model's text, else the one closest to the others |

Ties go to the more trusted member, everywhere. The median bounds what a minority can do to a number (it has the highest
breakdown point of any estimate of location, Donoho and Huber 1983); the vote is self-consistency (arXiv 2203.11171).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from fusion.results import FusedField, How
from fusion.structured.plurality import plurality
from fusion.text.json_text import canonical_by_value, list_or_empty, mapping_or_empty
from fusion.text.similarity import SHORT_WORDS, similarity, words

_DEPTH = 64


@dataclass(frozen=True, slots=True)
class OpenText:
    """A long text that candidates do not agree on: its path, its schema, and what stands there until a judge writes."""

    path: tuple[str | int, ...]
    schema: Mapping[str, Any]
    central: str


@dataclass(slots=True)
class Fields:
    """A fused value; `fields` says how every field that was in dispute was settled, `open_texts` what a judge model may
    write anew."""

    value: Any = None
    fields: list[FusedField] = field(default_factory=list[FusedField])
    open_texts: list[OpenText] = field(default_factory=list[OpenText])


def fuse_fields(values: Sequence[Any], schema: Mapping[str, Any]) -> Fields:
    """Fuse values that follow the schema, in order of trust. Theirs is the order of ties, and nothing else."""
    fused = Fields()
    fused.value = _Fusing(schema, fused).fuse(list(values), schema, ())
    return fused


def with_texts(value: Any, texts: Mapping[tuple[str | int, ...], str]) -> Any:
    """The value with these texts in their places."""
    return _with_texts(value, texts, ())


def pointer(path: Sequence[str | int]) -> str:
    """A path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every value without parts, by its pointer, each as the text that equal values share."""
    parts: Any = None
    if isinstance(value, dict):
        parts = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        parts = list(enumerate(cast("list[Any]", value)))
    if not parts:
        yield pointer(path), canonical_by_value(value)
    else:
        for key, part in parts:
            yield from leaves(part, (*path, key))


@dataclass(slots=True)
class _Fusing:
    root: Mapping[str, Any]
    fused: Fields

    def fuse(self, values: list[Any], schema: Mapping[str, Any], path: tuple[str | int, ...]) -> Any:
        keys = [canonical_by_value(value) for value in values]
        if len(set(keys)) == 1:
            return values[0]
        schema = self._resolved(schema)
        if len(path) >= _DEPTH or {"enum", "const"} & schema.keys():
            return self._voted(values, keys, path)
        if all(isinstance(value, dict) for value in values):
            return self._objects(values, schema, path)
        if all(isinstance(value, list) for value in values):
            return self._arrays(values, keys, schema, path)
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            return self._median(values, path)
        if all(isinstance(value, str) for value in values):
            return self._texts(values, keys, schema, path)
        return self._voted(values, keys, path)

    def _objects(self, objects: list[dict[str, Any]], schema: Mapping[str, Any], path: tuple[str | int, ...]) -> Any:
        fused: dict[str, Any] = {}
        for name in dict.fromkeys(name for value in objects for name in value):
            there = [name in value for value in objects]
            if plurality(there):
                own = [value[name] for value in objects if name in value]
                fused[name] = self.fuse(own, self._property(schema, name), (*path, name))
            if len(set(there)) > 1:
                self._note((*path, name), "vote")
        return fused

    def _arrays(
        self, arrays: list[list[Any]], keys: list[str], schema: Mapping[str, Any], path: tuple[str | int, ...]
    ) -> Any:
        whole = plurality(keys)
        if 2 * keys.count(whole) > len(keys):
            return self._voted(arrays, keys, path)
        if all(not isinstance(element, dict | list) for array in arrays for element in array):
            if kept := _kept_elements(arrays):
                self._note(path, "elements")
                return kept
        elif len({len(array) for array in arrays}) == 1:
            return [
                self.fuse([array[place] for array in arrays], self._item(schema, place), (*path, place))
                for place in range(len(arrays[0]))
            ]
        self._note(path, "central")
        counts = [Counter(map(canonical_by_value, array)) for array in arrays]
        closeness = [sum((own & other).total() for other in counts if other is not own) for own in counts]
        return arrays[closeness.index(max(closeness))]

    def _median(self, numbers: list[Any], path: tuple[str | int, ...]) -> Any:
        self._note(path, "median")
        ranked = sorted(numbers)
        middle = {ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]}
        return next(number for number in numbers if number in middle)

    def _texts(self, texts: list[str], keys: list[str], schema: Mapping[str, Any], path: tuple[str | int, ...]) -> Any:
        if {"format", "pattern"} & schema.keys():
            return self._voted(texts, keys, path)
        normalized = [" ".join(words(text)) or text for text in texts]
        is_short = all(len(words(text)) <= SHORT_WORDS for text in texts)
        if is_short or 2 * normalized.count(plurality(normalized)) > len(normalized):
            return self._voted(texts, normalized, path)
        closeness = [sum(similarity(text, other) for other in texts) for text in texts]
        central = texts[closeness.index(max(closeness))]
        self._note(path, "central")
        self.fused.open_texts.append(OpenText(path, schema, central))
        return central

    def _voted(self, values: list[Any], keys: list[str], path: tuple[str | int, ...]) -> Any:
        self._note(path, "vote")
        return values[keys.index(plurality(keys))]

    def _note(self, path: tuple[str | int, ...], how: How) -> None:
        self.fused.fields.append(FusedField(pointer(path), how))

    def _property(self, schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        return mapping_or_empty(mapping_or_empty(schema.get("properties")).get(name))

    def _item(self, schema: Mapping[str, Any], place: int) -> Mapping[str, Any]:
        prefix = list_or_empty(schema.get("prefixItems"))
        if place < len(prefix):
            return mapping_or_empty(prefix[place])
        return mapping_or_empty(schema.get("items"))

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema behind references of this document, and behind a choice whose only other branch is null."""
        for _ in range(_DEPTH):
            branches = [
                part
                for part in map(mapping_or_empty, list_or_empty(schema.get("anyOf") or schema.get("oneOf")))
                if part
            ]
            branches = [part for part in branches if part.get("type") != "null"]
            if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#"):
                schema = self._at(reference)
            elif len(branches) == 1:
                schema = branches[0]
            else:
                break
        return schema

    def _at(self, reference: str) -> Mapping[str, Any]:
        found: Any = self.root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = mapping_or_empty(found).get(part.replace("~1", "/").replace("~0", "~"))
        return mapping_or_empty(found)


def _kept_elements(arrays: Sequence[list[Any]]) -> list[Any]:
    """The elements that more than half of the arrays have, as often as these have them, in the order of the first."""
    counts = [Counter(map(canonical_by_value, array)) for array in arrays]
    keys = {key for count in counts for key in count}
    often = {key: sorted((count[key] for count in counts), reverse=True)[len(arrays) // 2] for key in keys}
    kept: list[Any] = []
    for array in arrays:
        for element in array:
            if often.get(key := canonical_by_value(element), 0) > 0:
                often[key] -= 1
                kept.append(element)
    return kept


def _with_texts(value: Any, texts: Mapping[tuple[str | int, ...], str], path: tuple[str | int, ...]) -> Any:
    if path in texts:
        return texts[path]
    if isinstance(value, dict):
        return {key: _with_texts(part, texts, (*path, key)) for key, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_with_texts(part, texts, (*path, place)) for place, part in enumerate(cast("list[Any]", value))]
    return value

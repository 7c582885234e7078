"""JSON Schema 2020-12: whether a schema is one, and whether a value fits it. Nothing is ever fetched for a `$ref`.

It stands in the shell because the validator is a library of its own; the core knows of schemas which numbers in them
are typed (core/numbers.py) and which fields are sensitive (core/schema_marks.py).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NoReturn

import jsonschema_rs
import msgspec

from .core.nodes import Node, Path, Problems, render
from .core.reader import Reading
from .core.refusals import Violation
from .core.schema_documents import parts_of
from .core.schema_marks import mark_faults, sensitive_fields
from .core.values import Value

META_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"

VIOLATIONS_MAX: Final = 50
"""Violations told of one value; a large list of wrong items would otherwise make an answer of megabytes."""

MESSAGE_CHARACTERS_MAX: Final = 300

_INVALID: Final = "INVALID_SCHEMA"


def check_schemas(places: Iterable[tuple[Path, Mapping[str, Any]]], reading: Reading) -> tuple[Violation, ...]:
    """The same for all schemas of a definition; `places` are those of `Compiled.schemas`."""
    return tuple(violation for path, schema in places for violation in check_schema(schema, reading, path))


def check_schema(
    schema: Mapping[str, Any], reading: Reading | None = None, path: Path = ("input_schema",)
) -> tuple[Violation, ...]:
    """Everything that keeps this from being a schema to check values with, and its marks from protecting what they
    seem to; located where the reading is given. `path` is where the schema stands in the definition."""
    problems = Problems(reading.root, reading.source) if reading else Problems(Node(None))
    if str(schema.get("$schema", META_SCHEMA)).rstrip("#") != META_SCHEMA:
        problems.add((*path, "$schema"), f"only JSON Schema 2020-12 ({META_SCHEMA}) is known", _INVALID)
        return problems.found
    for place, reference in _remote_references(schema, path):
        problems.add(place, f"{reference!r} is not in this schema, and nothing is fetched", _INVALID)
    for error in _meta_validator().iter_errors(dict(schema)):
        problems.add((*path, *error.instance_path), _message(error), _INVALID)
    if not problems.found:
        _check_compiles(schema, problems, path)
    for place, message in mark_faults(schema, path):
        problems.add(place, message, _INVALID)
    return problems.found


def _check_compiles(schema: Mapping[str, Any], problems: Problems, path: Path) -> None:
    """What only building the validator shows: a reference to nowhere, a pattern that is no regular expression."""
    try:
        _build(schema)
    except jsonschema_rs.ValidationError as error:
        problems.add((*path, *error.instance_path), _message(error), _INVALID)
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        problems.add(path, str(error).partition("\n")[0], _INVALID)


class Validator:
    """A schema, ready to check values. Raises ValueError for one that `check_schema` finds fault with."""

    def __init__(self, schema: Mapping[str, Any], root: str = "input", *, masked: bool = False) -> None:
        """`root`: what paths begin with. `masked`: messages say what was expected and never quote the value, and of
        what is in a sensitive field not even the names are told."""
        self._validator = _build(schema)
        self._root = root
        self._masked = masked
        self._sensitive = sensitive_fields(schema) if masked else None

    def violations(self, value: Value) -> tuple[Violation, ...]:
        """Where the value does not fit, at most the first `VIOLATIONS_MAX`; paths like `input.lines[2].qty`."""
        try:
            found = list(itertools.islice(self._validator.iter_errors(value), VIOLATIONS_MAX))
        except ValueError:
            return (Violation(self._root, "a payload that is not JSON cannot fit a schema", "SCHEMA_MISMATCH"),)
        # Masked ones may become equal to each other.
        return tuple(dict.fromkeys(map(self._violation, found)))

    def _violation(self, error: jsonschema_rs.ValidationError) -> Violation:
        path: Path = tuple(error.instance_path)
        if not self._masked:
            return Violation(render((self._root, *path)), _message(error), "SCHEMA_MISMATCH")
        seen, sensitive = self._sensitive.seen(path) if self._sensitive is not None else (path, False)
        message = _masked_message(error.kind, sensitive)
        if len(seen) < len(path):
            message = f"something inside {message}"
        return Violation(render((self._root, *seen)), message, "SCHEMA_MISMATCH")


def misfits_of(schema: Mapping[str, Any], root: str) -> Callable[[Value], tuple[Violation, ...]]:
    """What finds where values do not fit a schema, in words that never quote them: such words are stored. The
    validator is built for the first value."""
    validator = functools.cache(lambda: Validator(schema, root, masked=True))
    return lambda value: validator().violations(value)


def _message(error: jsonschema_rs.ValidationError) -> str:
    """The library's words; they quote the value, which may be long."""
    return _clipped(error.message)


def _clipped(words: str) -> str:
    if len(words) <= MESSAGE_CHARACTERS_MAX:
        return words
    half = MESSAGE_CHARACTERS_MAX // 2
    return f"{words[:half]} ... {words[-half:]}"


_TELLING: Final = frozenset(
    (
        *("const", "enum", "pattern", "format", "contentEncoding", "contentMediaType", "multipleOf"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
        *("minItems", "maxItems", "minProperties", "maxProperties"),
    )
)
"""Keywords of which the library names the value that stands in the schema."""


def _masked_message(kind: jsonschema_rs.ValidationErrorKind, sensitive: bool) -> str:
    """What was expected, in words of the schema alone. Properties that are too many are named, except for those of a
    sensitive field."""
    keyword = kind.name
    if keyword == "type":
        return f"is not of type {' or '.join(kind.value)}"
    if keyword == "required":
        return f"{_json(kind.value)} is required"
    if keyword == "falseSchema":
        return "is not allowed"
    if keyword in _TELLING:
        return _clipped(f"does not fit `{keyword}`: {_json(kind.value)}")
    if keyword in ("additionalProperties", "unevaluatedProperties") and not sensitive:
        return _clipped(f"has properties that are not allowed: {', '.join(map(_json, kind.value))}")
    return f"does not fit `{keyword}`"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _build(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(dict(schema), retriever=_refuse_fetching)


def _refuse_fetching(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not in this schema, and nothing is fetched")


@functools.cache
def _meta_validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"$ref": META_SCHEMA}, validate_formats=True, retriever=_refuse_fetching)


def _remote_references(schema: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    """References that point out of the schema. Where parts have an `$id`, only building it can tell."""
    parts = list(parts_of(schema, path))
    if any("$id" in part for _, part in parts):
        return
    for here, part in parts:
        for keyword in ("$ref", "$dynamicRef"):
            reference = part.get(keyword)
            if isinstance(reference, str) and not reference.startswith("#") and reference != META_SCHEMA:
                yield (*here, keyword), reference

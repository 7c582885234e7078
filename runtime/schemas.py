"""JSON Schema 2020-12: whether a schema is one, and whether a value fits it. Nothing is ever fetched for a `$ref`.

It stands in the shell because the validator is a library of its own; the core knows of schemas only which numbers in
them are typed (core/numbers.py).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, cast

import jsonschema_rs

from .core.nodes import Node, Path, Problems, render
from .core.reader import Reading
from .core.refusals import Violation

META_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"

VIOLATIONS_MAX: Final = 50
"""Violations told of one value; a large list of wrong items would otherwise make an answer of megabytes."""

MESSAGE_CHARACTERS_MAX: Final = 300

_NO_SCHEMAS: Final = frozenset({"const", "enum", "default", "examples"})
"""Keywords whose values are data: a `$ref` in them is none."""


def check_schema(schema: Mapping[str, Any], reading: Reading | None = None) -> tuple[Violation, ...]:
    """Everything that keeps this from being a schema to check inputs with; located where the reading is given."""
    problems = Problems(reading.root, reading.source) if reading else Problems(Node(None))
    if str(schema.get("$schema", META_SCHEMA)).rstrip("#") != META_SCHEMA:
        message = f"only JSON Schema 2020-12 ({META_SCHEMA}) is known"
        problems.add(("input_schema", "$schema"), message, "INVALID_SCHEMA")
        return problems.found
    for path, reference in _remote_references(schema, ("input_schema",)):
        problems.add(path, f"{reference!r} is not in this schema, and nothing is fetched", "INVALID_SCHEMA")
    for error in _meta_validator().iter_errors(dict(schema)):
        problems.add(("input_schema", *error.instance_path), _message(error), "INVALID_SCHEMA")
    if not problems.found:
        _check_compiles(schema, problems)
    return problems.found


def _check_compiles(schema: Mapping[str, Any], problems: Problems) -> None:
    """What only building the validator shows: a reference to nowhere, a pattern that is no regular expression."""
    try:
        _build(schema)
    except jsonschema_rs.ValidationError as error:
        problems.add(("input_schema", *error.instance_path), _message(error), "INVALID_SCHEMA")
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        problems.add(("input_schema",), str(error).partition("\n")[0], "INVALID_SCHEMA")


class Validator:
    """A schema, ready to check values. Raises ValueError for one that `check_schema` finds fault with."""

    def __init__(self, schema: Mapping[str, Any], root: str = "input") -> None:
        self._validator = _build(schema)
        self._root = root

    def violations(self, value: Any) -> tuple[Violation, ...]:
        """Where the value does not fit, at most the first `VIOLATIONS_MAX`; paths like `input.lines[2].qty`."""
        try:
            found = list(itertools.islice(self._validator.iter_errors(value), VIOLATIONS_MAX))
        except ValueError:
            return (Violation(self._root, "a payload that is not JSON cannot fit a schema", "SCHEMA_MISMATCH"),)
        return tuple(self._violation(error) for error in found)

    def _violation(self, error: jsonschema_rs.ValidationError) -> Violation:
        return Violation(render((self._root, *error.instance_path)), _message(error), "SCHEMA_MISMATCH")


def _message(error: jsonschema_rs.ValidationError) -> str:
    """The library's words; they quote the value, which may be long."""
    words = error.message
    if len(words) <= MESSAGE_CHARACTERS_MAX:
        return words
    half = MESSAGE_CHARACTERS_MAX // 2
    return f"{words[:half]} ... {words[-half:]}"


def _build(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(dict(schema), retriever=_refuse_fetching)


def _refuse_fetching(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not in this schema, and nothing is fetched")


@functools.cache
def _meta_validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"$ref": META_SCHEMA}, validate_formats=True, retriever=_refuse_fetching)


def _remote_references(schema: object, path: Path) -> Iterator[tuple[Path, str]]:
    """References that point out of the schema. Where parts have an `$id`, only building it can tell."""
    if "$id" in _keys(schema):
        return
    yield from _references(schema, path)


def _references(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, list):
        entries = cast("list[object]", value)
        for number, entry in enumerate(entries):
            yield from _references(entry, (*path, number))
    if not isinstance(value, dict):
        return
    fields = cast("dict[str, object]", value)
    for name, item in fields.items():
        if name in ("$ref", "$dynamicRef") and isinstance(item, str):
            if not item.startswith("#") and item != META_SCHEMA:
                yield (*path, name), item
        elif name not in _NO_SCHEMAS:
            yield from _references(item, (*path, name))


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, list):
        entries = cast("list[object]", value)
        for entry in entries:
            yield from _keys(entry)
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        for name, item in fields.items():
            yield name
            yield from _keys(item)

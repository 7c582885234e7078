"""A JSON Schema as a document: where its schemas stand, and where its references lead.

Only references within the document are known: JSON pointers, anchors, and dynamic references, which in a document
without an inner `$id` lead where an anchor would.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final, TypeAlias, cast

from .nodes import Path

Schema: TypeAlias = dict[str, Any]

SINGLE: Final = frozenset(
    (
        *("additionalProperties", "unevaluatedProperties", "propertyNames", "items", "contains", "unevaluatedItems"),
        *("not", "if", "then", "else", "contentSchema"),
    )
)
"""Keywords that hold a schema."""

LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
"""Keywords that hold a list of schemas."""

MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
"""Keywords that hold schemas by names of the author's own."""

SCHEMAS: Final = SINGLE | LISTS | MAPS

UNUSED: Final = frozenset({"$defs", "definitions"})
"""Keywords whose schemas apply only where a reference leads to them."""

DATA: Final = frozenset({"const", "enum", "default", "examples"})
"""Keywords that hold values, whatever those look like."""

META_SCHEMAS: Final = "https://json-schema.org/draft/2020-12/"
"""The beginning of the names of the schemas that every validator knows."""


class Resolver:
    """Follows the references of one document."""

    def __init__(self, root: object) -> None:
        self.root = root

    def target(self, reference: object) -> object:
        """What a `$ref` or `$dynamicRef` leads to within the document; None: nothing that is known here."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        fragment = _unquoted(reference[1:])
        return self._pointed(fragment) if fragment[:1] in ("", "/") else self._anchors.get(fragment)

    def _pointed(self, pointer: str) -> object:
        found = self.root
        for token in pointer.split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            entries = as_list(found)
            if entries and key.isdecimal() and int(key) < len(entries):
                found = entries[int(key)]
            else:
                found = as_object(found).get(key)
        return found

    @cached_property
    def _anchors(self) -> dict[str, Schema]:
        found: dict[str, list[Schema]] = {}
        for _, part in parts_of(self.root):
            names = [part.get("$anchor"), part.get("$dynamicAnchor")]
            for name in {name for name in names if isinstance(name, str)}:
                found.setdefault(name, []).append(part)
        return {name: parts[0] for name, parts in found.items() if len(parts) == 1}


def parts_of(schema: object, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Every schema object of a document with its path, those that nothing refers to included."""
    waiting: list[tuple[Path, object]] = [(path, schema)]
    while waiting:
        here, found = waiting.pop()
        part = as_object(found)
        if part:
            yield here, part
            waiting.extend(reversed([inner for keyword in part for inner in parts_under(part, keyword, here)]))


def objects_in(value: object, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Every object that is not empty within a value, itself included, with its path, whatever it stands for."""
    waiting: list[tuple[Path, object]] = [(path, value)]
    while waiting:
        here, found = waiting.pop()
        members = as_object(found)
        if members:
            yield here, members
        waiting += (((*here, name), inner) for name, inner in members.items())
        waiting += (((*here, number), inner) for number, inner in enumerate(as_list(found)))


def parts_under(part: Schema, keyword: str, path: Path) -> Iterator[tuple[Path, object]]:
    """The schemas that stand under one keyword of a schema, with their paths; `path` is the schema's own."""
    value = part[keyword]
    if keyword in SINGLE:
        yield (*path, keyword), value
    elif keyword in LISTS:
        yield from (((*path, keyword, number), entry) for number, entry in enumerate(as_list(value)))
    elif keyword in MAPS:
        yield from (((*path, keyword, name), entry) for name, entry in as_object(value).items())


def as_object(value: object) -> Schema:
    """An object as it is, anything else as one that says nothing."""
    return cast(Schema, value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """A list as it is, anything else as an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _unquoted(fragment: str) -> str:
    """Percent escapes of a URI fragment (RFC 3986, section 2.1) read as UTF-8."""
    octets = re.sub(rb"%([0-9A-Fa-f]{2})", lambda escape: bytes.fromhex(escape[1].decode()), fragment.encode())
    return octets.decode(errors="replace")

"""The places of the values that a JSON Schema is for, and what the schemas say that apply there.

A *part* is one schema object. Which parts apply at a place follows from the keywords that lead there, so a *shape*
stands for a set of parts: all that apply to one value, with the shapes of the places below it. There is one shape for
each set, so that recursive schemas end. What a set of parts says is up to who asks: numbers.py asks for types,
schema_marks.py for the mark `sensitive`. Nothing is validated here, and a broken schema breaks nothing.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

from .schema_documents import Resolver, Schema, as_list, as_object

SHAPES_MAX: Final = 10_000
"""Places of one schema that are looked at."""

LOOKS_MAX: Final = 200_000
"""Parts looked at, for all places together; combinations of schemas could need any number of them."""

_SILENT: Final = frozenset(
    (
        *("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas"),
        *("$comment", "title", "description", "default", "examples", "deprecated"),
    )
)
"""Parts with no other keywords say nothing themselves, they only lead to others."""

_LEADING: Final = frozenset(
    (
        *("properties", "patternProperties", "additionalProperties", "unevaluatedProperties"),
        *("prefixItems", "items", "contains", "unevaluatedItems"),
    )
)
"""Keywords that lead to the places below."""

_Said = TypeVar("_Said")
_Says: TypeAlias = Callable[[list[Schema]], _Said | None]
_Patterns: TypeAlias = "list[tuple[NamePattern, object]]"
_Parts: TypeAlias = list[tuple[Schema, _Patterns]]


class Shape(Generic[_Said]):
    """What the parts that apply at one place say, with the shapes of the places below it; None: nothing is said there
    or below."""

    __slots__ = ("additional", "items", "prefix_items", "prefixes", "properties", "says")

    def __init__(self, says: _Said | None) -> None:
        self.says = says
        self.properties: dict[str, Shape[_Said] | None] = {}
        self.prefixes: list[tuple[str, Shape[_Said] | None]] = []
        """Of properties that are not named but begin so, the longest first."""
        self.additional: Shape[_Said] | None = None
        """Of all other properties."""
        self.prefix_items: list[Shape[_Said] | None] = []
        self.items: Shape[_Said] | None = None
        """Of the items behind them."""

    def property(self, name: str) -> "Shape[_Said] | None":
        """Of the property of this name."""
        if name in self.properties:
            return self.properties[name]
        for prefix, shape in self.prefixes:
            if name.startswith(prefix):
                return shape
        return self.additional

    def item(self, index: int) -> "Shape[_Said] | None":
        """Of the item at this place, from 0."""
        return self.prefix_items[index] if index < len(self.prefix_items) else self.items

    def below(self) -> "Iterator[Shape[_Said] | None]":
        """The shapes of the places below."""
        yield from self.properties.values()
        yield from (shape for _, shape in self.prefixes)
        yield self.additional
        yield from self.prefix_items
        yield self.items

    def prune(self, kept: "set[Shape[_Said]]") -> None:
        """Forget the places below that are not kept."""

        def pruned(shape: Shape[_Said] | None) -> Shape[_Said] | None:
            return shape if shape in kept else None

        self.properties = {name: pruned(shape) for name, shape in self.properties.items()}
        self.prefixes = [(prefix, pruned(shape)) for prefix, shape in self.prefixes]
        self.additional = pruned(self.additional)
        self.prefix_items = [pruned(shape) for shape in self.prefix_items]
        self.items = pruned(self.items)


class Shapes(Generic[_Said]):
    """The walk over one schema."""

    def __init__(
        self,
        resolver: Resolver,
        says: _Says[_Said],
        *,
        possible: bool = False,
        beyond: _Said | None = None,
    ) -> None:
        """`possible`: follow also what applies to some values only (`anyOf`, `if`, `contains` and so on), and the
        patterns of names. `beyond`: what is said of the places beyond the limits."""
        self._resolver = resolver
        self._says = says
        self._possible = possible
        self._beyond = Shape(beyond) if beyond is not None else None
        self._shapes: dict[frozenset[int], Shape[_Said]] = {}
        self._waiting: list[tuple[Shape[_Said], list[Schema]]] = []
        self._looks = 0
        self.reached: dict[int, Schema] = {}
        """The parts that apply somewhere, by identity."""
        self.cut = False
        """The limits were reached."""
        root = self._shape([resolver.root])
        while self._waiting:
            self._fill(*self._waiting.pop())
        kept = self._saying()
        for shape in kept:
            shape.prune(kept)
        self.root = root if root in kept else None
        """None: nothing is said anywhere."""

    def _shape(self, schemas: Iterable[object]) -> Shape[_Said] | None:
        if self._looks > LOOKS_MAX:
            self.cut = True
            return self._beyond
        parts = self._together(schemas)
        key = frozenset(map(id, parts))
        if not parts or key in self._shapes:
            return self._shapes.get(key)
        if len(self._shapes) >= SHAPES_MAX:
            self.cut = True
            return self._beyond
        shape = self._shapes[key] = Shape(self._says(parts))
        if not all(map(_LEADING.isdisjoint, parts)):
            self._waiting.append((shape, parts))
        return shape

    def _together(self, schemas: Iterable[object]) -> list[Schema]:
        """These schemas, and what applies to the same value with them, as far as they say something."""
        seen: dict[int, Schema] = {}
        waiting = list(schemas)
        while waiting:
            self._looks += 1
            part = as_object(waiting.pop())
            if not part or id(part) in seen:
                continue
            seen[id(part)] = part
            waiting += as_list(part.get("allOf"))
            if "$ref" in part:
                waiting.append(self._resolver.target(part["$ref"]))
            if self._possible:
                waiting += self._beside(part)
        self.reached.update(seen)
        return [part for part in seen.values() if not _SILENT.issuperset(part)]

    def _beside(self, part: Schema) -> Iterator[object]:
        """What may apply to the same value."""
        for keyword in ("anyOf", "oneOf"):
            yield from as_list(part.get(keyword))
        for keyword in ("if", "then", "else"):
            yield part.get(keyword)
        yield from as_object(part.get("dependentSchemas")).values()
        if "$dynamicRef" in part:
            yield self._resolver.target(part["$dynamicRef"])

    def _fill(self, shape: Shape[_Said], parts: list[Schema]) -> None:
        patterns = [self._patterns(part) for part in parts]
        known = {name for part in parts for name in as_object(part.get("properties"))}
        known.update(one.prefix for found in patterns for one, _ in found if one.exact)
        prefixes = {one.prefix for found in patterns for one, _ in found if not one.exact} - {""}
        length = max(len(as_list(part.get("prefixItems"))) for part in parts)
        self._looks += (len(known) + len(prefixes) + length + 2) * (len(parts) + sum(map(len, patterns)))
        if self._looks > LOOKS_MAX:
            self.cut = True
            shape.says = shape.says if self._beyond is None else self._beyond.says
            return
        both = list(zip(parts, patterns, strict=True))
        for name in sorted(known):
            shape.properties[name] = self._shape(self._of_name(both, name))
        for prefix in sorted(prefixes, key=lambda text: (-len(text), text)):
            shape.prefixes.append((prefix, self._shape(self._of_others(both, prefix))))
        shape.additional = self._shape(self._of_others(both, ""))
        shape.prefix_items = [self._shape(self._of_item(parts, index)) for index in range(length)]
        shape.items = self._shape(self._of_item(parts, length))

    def _patterns(self, part: Schema) -> _Patterns:
        patterns = as_object(part.get("patternProperties")) if self._possible else {}
        return [(name_pattern(text), schema) for text, schema in patterns.items()]

    def _of_name(self, parts: _Parts, name: str) -> Iterator[object]:
        """What the parts say of the property of a name that one of them knows."""
        for part, patterns in parts:
            known = as_object(part.get("properties"))
            matching = [(one, schema) for one, schema in patterns if one.may_match(name)]
            if name in known:
                yield known[name]
            yield from (schema for _, schema in matching)
            if name not in known and not any(one.certain or one.exact for one, _ in matching):
                yield from self._rest(part, "additionalProperties", "unevaluatedProperties")

    def _of_others(self, parts: _Parts, prefix: str) -> Iterator[object]:
        """What the parts say of a property with a name that none of them knows, and of whose beginnings that they know
        this is the longest."""
        for part, patterns in parts:
            matching = [(one, schema) for one, schema in patterns if not one.exact and one.may_match(prefix)]
            yield from (schema for _, schema in matching)
            if not any(one.certain for one, _ in matching):
                yield from self._rest(part, "additionalProperties", "unevaluatedProperties")

    def _of_item(self, parts: list[Schema], index: int) -> Iterator[object]:
        """What the parts say of the item at a place."""
        for part in parts:
            first = as_list(part.get("prefixItems"))
            if index < len(first):
                yield first[index]
            else:
                yield from self._rest(part, "items", "unevaluatedItems")
            if self._possible:
                yield part.get("contains")

    def _rest(self, part: Schema, keyword: str, unevaluated: str) -> Iterator[object]:
        """What a part says of the properties or items that it has not named; `unevaluated` is for those that nothing
        else speaks of, and here anything else may be silent."""
        if keyword in part:
            yield part[keyword]
        elif self._possible:
            yield part.get(unevaluated)

    def _saying(self) -> set[Shape[_Said]]:
        """The shapes that say something, or have one below that does."""
        every = [*self._shapes.values(), *([self._beyond] if self._beyond is not None else [])]
        above: dict[Shape[_Said], list[Shape[_Said]]] = {}
        for shape in every:
            for child in shape.below():
                if child is not None:
                    above.setdefault(child, []).append(shape)
        kept: set[Shape[_Said]] = set()
        waiting = [shape for shape in every if shape.says is not None]
        while waiting:
            shape = waiting.pop()
            if shape not in kept:
                kept.add(shape)
                waiting.extend(above.get(shape, ()))
        return kept


class NamePattern(NamedTuple):
    """What is known of the names that a pattern of `patternProperties` matches, without a regular expression engine:
    the one of the validator reads patterns as ECMAScript does, and Python's would differ from it."""

    prefix: str
    """Every name that matches begins so."""
    exact: bool = False
    """Only the prefix itself matches."""
    certain: bool = False
    """Every name that begins so matches."""

    def may_match(self, name: str) -> bool:
        """False only where it is certain."""
        return name == self.prefix if self.exact else name.startswith(self.prefix)


_SPECIAL: Final = frozenset(".^$*+?()[]{}|\\")
_REPEATED: Final = frozenset("*+?{")
_ONE = re.compile(r"\\[-.^$*+?()\[\]{}|\\/]|.", re.DOTALL)


def name_pattern(pattern: str) -> NamePattern:
    """What a pattern is known to match: exactly read are `^text`, `^text.*` and `^text$`; of any other that begins with
    `^text` only that, and of the rest nothing."""
    if pattern in ("", "^", ".*", "^.*"):
        return NamePattern("", certain=True)
    if not pattern.startswith("^") or "|" in pattern:
        return NamePattern("")
    ones = cast("list[str]", _ONE.findall(pattern[1:]))
    prefix = ""
    for at, one in enumerate(ones):
        repeated = at + 1 < len(ones) and ones[at + 1] in _REPEATED
        if repeated or one in _SPECIAL:
            rest = "".join(ones[at:])
            return NamePattern(prefix, rest == "$", rest == ".*")
        prefix += one[-1]
    return NamePattern(prefix, certain=True)

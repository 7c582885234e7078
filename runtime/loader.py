"""YAML or JSON text -> nodes with marks, by the rules of the file form.

YAML is read from the parser's events, not through its types: plain scalars mean what YAML 1.2's core schema says
(`yes` is a string, `0o17` a number), there are no tags, no merge keys, no doubled keys, and aliases are bounded. What
the tree means is the reader's part (core/reader.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from .core.nodes import DefinitionLimits, Inside, Node, Place, Tree, refused_tree, whole_unicode
from .core.refusals import Violation
from .json_text import read_json, whole_number

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C parser where PyYAML was built with it."""

_WORDS: dict[str, None | bool] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_START = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NO_NUMBER = {".nan", ".NaN", ".NAN"}
_NO_KEYS: Mapping[str, Place] = {}
"""Those of every scalar."""
_JSON_START = re.compile(r'\s*(\{\s*["}]|\[\s*[\[{"\]])')


def load(name: str, text: str, limits: DefinitionLimits | None = None) -> Node:
    """The tree of a source text; `name` (a file name, say) goes into the violations, and its ending says the form.

    Raises Refused with located violations: a syntax error alone, otherwise everything this form does not allow.
    """
    bounds = limits or DefinitionLimits()
    if not whole_unicode(text):
        raise refused_tree([Violation("", "the text holds half of a surrogate pair", "INVALID_TEXT", name)])
    size = len(text.encode())
    if size > bounds.definition_bytes_max:
        message = f"{size} bytes are more than definition_bytes_max = {bounds.definition_bytes_max}"
        raise refused_tree([Violation("", message, "LIMIT", name)])
    text = text.removeprefix("\ufeff")
    if _is_json(name, text):
        return read_json(name, text, bounds)
    return _YamlText(name, text, bounds).document()


def _is_json(name: str, text: str) -> bool:
    ending = name.rpartition(".")[2].lower()
    if ending in ("json", "yaml", "yml"):
        return ending == "json"
    return _JSON_START.match(text) is not None


@dataclass(slots=True)
class _Open:
    """A list or object whose end has not come yet."""

    place: Place
    anchor: str | None
    entries: list[Node] | None
    fields: dict[str, Node] = field(default_factory=dict[str, Node])
    keys: dict[str, Place] = field(default_factory=dict[str, Place])
    key: str | None = None
    size: int = 1
    height: int = 0


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an alias stands for, with what it adds to the tree."""

    node: Node
    size: int
    height: int


class _YamlText:
    """One pass over the parser's events, without recursion."""

    def __init__(self, name: str, text: str, limits: DefinitionLimits) -> None:
        self._name = name
        self._text = text
        self._lines = text.split("\n")
        self._limits = limits
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored] = {}
        self._aliases = 0
        self._nodes = 0
        self._root: Node | None = None
        self._documents = 0
        self._found: list[Violation] = []

    def document(self) -> Node:
        """The one document of the text."""
        takes: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.SequenceStartEvent: self._begin,
            yaml.MappingStartEvent: self._begin,
            yaml.SequenceEndEvent: self._end,
            yaml.MappingEndEvent: self._end,
            yaml.DocumentStartEvent: self._begin_document,
        }
        for event in self._events():
            take = takes.get(event.__class__)
            if take is not None:
                take(event)
        if self._found:
            raise refused_tree(self._found)
        return self._root or Node(None, 1, 1)

    def _events(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self._text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = self._within(_place(mark)) if mark else Place(0, 0)
            words = " ".join(part for part in (error.context, error.problem) if part)
            self._refuse(place, f"not YAML: {words}", "SYNTAX")
        except yaml.reader.ReaderError as error:
            self._refuse(self._at_offset(error.position), f"not YAML: {error.reason}", "SYNTAX")

    def _within(self, place: Place) -> Place:
        """The parser places what is missing at the end behind the last line."""
        if place.line <= len(self._lines):
            return place
        return Place(len(self._lines), len(self._lines[-1]) + 1)

    def _at_offset(self, position: Any) -> Place:
        """The place of a character the YAML reader refused; the C parser counts bytes."""
        before = self._text.encode()[: int(position or 0)].decode(errors="ignore")
        return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))

    def _begin_document(self, event: Any) -> None:
        place = _place(event.start_mark)
        self._documents += 1
        if self._documents > 1:
            self._refuse(place, "a second document begins here; a source text holds one definition", "SYNTAX")
        if event.version == (1, 1):
            self._refuse(place, "this is read as YAML 1.2, not 1.1; take the %YAML line out", "SYNTAX")

    def _begin(self, event: Any) -> None:
        place = _place(event.start_mark)
        self._no_tag(event)
        if self._wants_key():
            self._refuse(place, "a key must be plain text, not a list or an object", "INVALID_KEY")
        self._count(1, 0, event)
        self._open.append(_Open(place, event.anchor, [] if isinstance(event, yaml.SequenceStartEvent) else None))
        if event.anchor:
            self._anchors.pop(event.anchor, None)

    def _end(self, _event: Any) -> None:
        ended = self._open.pop()
        value: Tree = ended.fields if ended.entries is None else ended.entries
        self._put(Node(value, *ended.place, None, ended.keys), ended.anchor, ended.size, ended.height)

    def _scalar(self, event: Any) -> None:
        self._no_tag(event)
        text: str = event.value
        mark = event.start_mark
        if not whole_unicode(text):
            self._refuse(_place(mark), "half of a surrogate pair is no character", "INVALID_TEXT")
        if self._wants_key():
            self._key(event, _place(mark))
            return
        self._count(1, 0, event)
        value = text if event.style else _resolve(text)
        node = Node(value, mark.line + 1, mark.column + 1, text, _NO_KEYS, self._inside(event))
        self._put(node, event.anchor, 1, 0)

    def _alias(self, event: Any) -> None:
        place = _place(event.start_mark)
        self._aliases += 1
        if self._aliases > self._limits.definition_aliases_max:
            self._refuse(place, f"more than definition_aliases_max = {self._limits.definition_aliases_max}", "LIMIT")
        if self._wants_key():
            self._refuse(place, "a key must be plain text, not an alias", "INVALID_KEY")
        known = self._anchors.get(event.anchor)
        if known is None:
            inside = any(scope.anchor == event.anchor for scope in self._open)
            reason = "stands inside what it names" if inside else "names no anchor before it"
            self._refuse(place, f"the alias *{event.anchor} {reason}", "INVALID_ALIAS")
        self._count(known.size, known.height, event)
        self._put(known.node, None, known.size, known.height)

    def _wants_key(self) -> bool:
        return bool(self._open) and self._open[-1].entries is None and self._open[-1].key is None

    def _key(self, event: Any, place: Place) -> None:
        scope = self._open[-1]
        name: str = event.value
        scope.key = name
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(Node(name, *place, text=name), 1, 0)
        if not event.style and name == "<<":
            self._note(place, "merge keys (<<) are not YAML 1.2; write the fields out", "MERGE_KEY")
        elif not event.style and not name:
            self._note(place, "a key is missing here", "INVALID_KEY")
        elif name in scope.fields:
            self._note(place, f"the key {name!r} stands here twice", "DUPLICATE_KEY")
        scope.keys[name] = place

    def _put(self, node: Node, anchor: str | None, size: int, height: int) -> None:
        """Give a finished node to what is open around it."""
        if anchor:
            self._anchors[anchor] = _Anchored(node, size, height)
        if not self._open:
            self._root = node
            return
        scope = self._open[-1]
        scope.size += size
        if height >= scope.height:
            scope.height = height + 1
        if scope.entries is not None:
            scope.entries.append(node)
        elif scope.key is not None:
            scope.fields[scope.key] = node
            scope.key = None

    def _count(self, size: int, height: int, event: Any) -> None:
        self._nodes += size
        if self._nodes > self._limits.definition_nodes_max:
            message = f"more than definition_nodes_max = {self._limits.definition_nodes_max} values"
            self._refuse(_place(event.start_mark), message, "LIMIT")
        if len(self._open) + height >= self._limits.definition_depth_max:
            place = _place(event.start_mark)
            self._refuse(place, f"deeper than definition_depth_max = {self._limits.definition_depth_max}", "LIMIT")

    def _no_tag(self, event: Any) -> None:
        if event.tag is not None:
            self._note(_place(event.start_mark), f"tags ({event.tag}) are not part of the file form", "TAG")

    def _inside(self, event: Any) -> Inside | None:
        """Where the scalar's own text begins, as far as it stands in the source as it is."""
        mark = event.start_mark
        if event.style in ("|", ">"):
            return self._inside_block(event, _place(mark))
        quote = 1 if event.style else 0
        begin = mark.index + quote
        if self._text[begin : begin + len(event.value)] != event.value:
            return None
        return Inside(mark.line + 1, mark.column + 1 + quote, 0)

    def _inside_block(self, event: Any, place: Place) -> Inside | None:
        own = event.value.split("\n")
        number = next((at for at, line in enumerate(own) if line.strip()), None)
        if number is None or place.line + number >= len(self._lines):
            return None
        source = self._lines[place.line + number].rstrip("\r")
        start = len(source) - len(source.lstrip(" ")) + 1
        if event.style == "|":
            start = len(source) - len(own[number]) + 1
        return Inside(place.line + 1, start, start if event.style == "|" else 0)

    def _note(self, place: Place, message: str, code: str) -> None:
        self._found.append(Violation("", message, code, self._name, place.line, place.column))

    def _refuse(self, place: Place, message: str, code: str) -> NoReturn:
        self._note(place, message, code)
        raise refused_tree(self._found)


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _resolve(text: str) -> Tree:
    """What a plain scalar means by YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    if _INTEGER.fullmatch(text):
        return whole_number(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:30], 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(text[2:30], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "").lower())
    return float("nan") if text in _NO_NUMBER else text

"""JSON text -> nodes with marks: strict JSON, nothing more, so that every mistake has its line and column.

The standard library's reader forgets where things stood and keeps the last of two equal keys.
"""

from __future__ import annotations

import bisect
import json
import re
from typing import NoReturn

from .core.nodes import DefinitionLimits, Inside, Node, Place, refused_tree, whole_unicode
from .core.refusals import Violation

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z_]+|[^\s]")
_WORDS = {"null": None, "true": True, "false": False}

INTEGER_DIGITS_MAX = 30
"""Integers with more digits are cut off: they are far out of range either way, and long ones are slow to convert."""


def read_json(name: str, text: str, limits: DefinitionLimits) -> Node:
    """The tree of a JSON text. Raises Refused with the place of the mistake, or with all doubled keys."""
    reader = _JsonText(name, text, limits)
    node = reader.document()
    if reader.doubled:
        raise refused_tree(reader.doubled)
    return node


def whole_number(text: str) -> int:
    """The integer of a decimal literal, cut where its size no longer matters."""
    return int(text[:INTEGER_DIGITS_MAX])


class _JsonText:
    """One pass over the text."""

    def __init__(self, name: str, text: str, limits: DefinitionLimits) -> None:
        self._name = name
        self._text = text
        self._limits = limits
        self._nodes = 0
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.doubled: list[Violation] = []

    def document(self) -> Node:
        """The one value of the text."""
        at = self._skip(0)
        node, at = self._value(at, 1)
        at = self._skip(at)
        if at < len(self._text):
            self._refuse(at, "there is more text after the end of the value")
        return node

    def _place(self, at: int) -> Place:
        line = bisect.bisect_right(self._lines, at)
        return Place(line, at - self._lines[line - 1] + 1)

    def _refuse(self, at: int, message: str, code: str = "SYNTAX") -> NoReturn:
        line, column = self._place(at)
        raise refused_tree([Violation("", message, code, self._name, line, column)])

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match else at

    def _value(self, at: int, depth: int) -> tuple[Node, int]:
        self._nodes += 1
        if self._nodes > self._limits.definition_nodes_max:
            self._refuse(at, f"more than definition_nodes_max = {self._limits.definition_nodes_max} values", "LIMIT")
        if depth > self._limits.definition_depth_max:
            self._refuse(at, f"deeper than definition_depth_max = {self._limits.definition_depth_max}", "LIMIT")
        match self._text[at : at + 1]:
            case "{":
                return self._object(at, depth)
            case "[":
                return self._array(at, depth)
            case '"':
                return self._string(at)
            case _:
                return self._literal(at)

    def _object(self, start: int, depth: int) -> tuple[Node, int]:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        at = self._skip(start + 1)
        while self._text[at : at + 1] != "}":
            if self._text[at : at + 1] != '"':
                self._unexpected(at, 'a key in double quotes, or "}"' if not keys else "a key in double quotes")
            key, after = self._string(at)
            name = str(key.value)
            if name in values:
                self._doubled(name, at)
            after = self._skip(after)
            if self._text[after : after + 1] != ":":
                self._unexpected(after, f'":" after the key {name!r}')
            keys[name] = self._place(at)
            values[name], after = self._value(self._skip(after + 1), depth + 1)
            at = self._next(after, "}")
        return Node(values, *self._place(start), keys=keys), at + 1

    def _array(self, start: int, depth: int) -> tuple[Node, int]:
        values: list[Node] = []
        at = self._skip(start + 1)
        while self._text[at : at + 1] != "]":
            value, after = self._value(at, depth + 1)
            values.append(value)
            at = self._next(after, "]")
        return Node(values, *self._place(start)), at + 1

    def _next(self, at: int, closing: str) -> int:
        """Where the next entry begins, or the closing bracket."""
        at = self._skip(at)
        if self._text[at : at + 1] == closing:
            return at
        if self._text[at : at + 1] != ",":
            self._unexpected(at, f'"," or "{closing}"')
        following = self._skip(at + 1)
        if self._text[following : following + 1] == closing:
            self._refuse(at, f'a "," before "{closing}" is not JSON')
        return following

    def _string(self, at: int) -> tuple[Node, int]:
        match = _STRING.match(self._text, at)
        if match is None:
            self._refuse(at, "this string does not end, or holds a line break, a control character or a bad escape")
        value: str = json.loads(match.group())
        if not whole_unicode(value):
            self._refuse(at, "half of a surrogate pair is no character", "INVALID_TEXT")
        line, column = self._place(at)
        inside = None if "\\" in match.group() else Inside(line, column + 1, 0)
        return Node(value, line, column, value, inside=inside), match.end()

    def _literal(self, at: int) -> tuple[Node, int]:
        line, column = self._place(at)
        number = _NUMBER.match(self._text, at)
        if number:
            text = number.group()
            value = float(text) if number.group(1) or number.group(2) else whole_number(text)
            return Node(value, line, column, text, inside=Inside(line, column, 0)), number.end()
        word = _WORD.match(self._text, at)
        if word is None or word.group() not in _WORDS:
            self._unexpected(at, "a value")
        return Node(_WORDS[word.group()], line, column, word.group()), word.end()

    def _doubled(self, name: str, at: int) -> None:
        line, column = self._place(at)
        self.doubled.append(
            Violation("", f"the key {name!r} stands here twice", "DUPLICATE_KEY", self._name, line, column)
        )

    def _unexpected(self, at: int, wanted: str) -> NoReturn:
        found = _WORD.match(self._text, at)
        what = repr(found.group()) if found else "the end of the text"
        self._refuse(at, f"expected {wanted}, found {what}")

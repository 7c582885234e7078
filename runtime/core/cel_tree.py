"""The syntax tree of a compiled CEL expression: read it, and put limits into it.

The CEL library shows its tree only in serialized form (`cel.expr.CheckedExpr`, protobuf). This module reads the few
fields the engine needs and keeps every other byte as it is, so that a changed tree can be handed back to the library.
It knows nothing about what the names in an expression mean; `expressions.py` does.

Field numbers are those of cel-spec's syntax.proto and checked.proto; they are part of a released wire format.
"""

from collections.abc import Container, Iterator
from typing import Final, NamedTuple, TypeAlias

import msgspec

# Kinds of nodes: the field of `Expr` that is set. ENTRY is one entry of a map literal, which is no `Expr` itself.
ENTRY: Final = 0
CONSTANT: Final = 3
IDENT: Final = 4
SELECT: Final = 5
CALL: Final = 6
LIST: Final = 7
STRUCT: Final = 8
COMPREHENSION: Final = 9

# Fields by kind.
IDENT_NAME: Final = 1
SELECT_OPERAND, SELECT_FIELD, SELECT_TEST_ONLY = 1, 2, 3
CALL_TARGET, CALL_FUNCTION, CALL_ARGS = 1, 2, 3
LIST_ELEMENTS: Final = 1
STRUCT_ENTRIES: Final = 2
CONSTANT_BOOL, CONSTANT_INT64, CONSTANT_STRING = 2, 3, 6
LOOP_VARIABLE, LOOP_RANGE, LOOP_ACCUMULATOR, LOOP_START, LOOP_CONDITION, LOOP_STEP, LOOP_RESULT, LOOP_VARIABLE_2 = (
    range(1, 9)
)  # fmt: skip

_CHILD_FIELDS: Final[dict[int, frozenset[int]]] = {
    ENTRY: frozenset((3, 4)),
    CONSTANT: frozenset(),
    IDENT: frozenset(),
    SELECT: frozenset((SELECT_OPERAND,)),
    CALL: frozenset((CALL_TARGET, CALL_ARGS)),
    LIST: frozenset((LIST_ELEMENTS,)),
    STRUCT: frozenset((STRUCT_ENTRIES,)),
    COMPREHENSION: frozenset((LOOP_RANGE, LOOP_START, LOOP_CONDITION, LOOP_STEP, LOOP_RESULT)),
}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED: Final = (_FIXED64, _FIXED32)

# The tree comes in an Any; the expression and the positions stand in these fields of CheckedExpr.
_ANY_VALUE: Final = 2
_CHECKED_SOURCE_INFO, _CHECKED_EXPR = 5, 4
_POSITIONS: Final = 4
_SHORT_ENTRY: Final = 4
"""Bytes of a position whose two numbers take one byte each."""


class Node(msgspec.Struct):
    """One node: `fields` are those of its kind, in order, as (number, wire type, raw value or child node)."""

    kind: int
    id: int
    fields: "list[tuple[int, int, Raw]]"

    def text(self, field: int) -> str:
        raw = self._first(field)
        return raw.decode() if isinstance(raw, bytes) else ""

    def number(self, field: int) -> int | None:
        raw = self._first(field)
        return raw if isinstance(raw, int) else None

    def child(self, field: int) -> "Node | None":
        raw = self._first(field)
        return raw if isinstance(raw, Node) else None

    def children(self, field: int = -1) -> "list[Node]":
        """The child nodes in `field`, or all of them."""
        return [raw for number, _, raw in self.fields if isinstance(raw, Node) and field in (number, -1)]

    def _first(self, field: int) -> "Raw | None":
        return next((raw for number, _, raw in self.fields if number == field), None)


Raw: TypeAlias = int | bytes | Node


class Tree(NamedTuple):
    """What was read: the nodes and where they stand in the source."""

    root: Node
    positions: dict[int, int]
    """Node id to the offset in the source text, in characters from 0."""


def read_tree(serialized: bytes) -> Tree:
    """The tree of `Expression.serialize()` of an expression that was checked."""
    checked = _checked_expr(serialized)
    info = next((raw for number, _, raw in checked if number == _CHECKED_SOURCE_INFO), b"")
    positions: dict[int, int] = {}
    for number, _, raw in _fields(_raw_bytes(info)):
        if number != _POSITIONS:
            continue
        entry = _raw_bytes(raw)
        if len(entry) == _SHORT_ENTRY and entry[0] == 1 << 3 and entry[2] == 2 << 3:
            # Both numbers are below 128, as nearly all are.
            positions[entry[1]] = entry[3]
        else:
            numbers = {key: value for key, _, value in _fields(entry) if isinstance(value, int)}
            positions[numbers.get(1, 0)] = numbers.get(2, 0)
    root = next(raw for number, _, raw in checked if number == _CHECKED_EXPR)
    return Tree(_read_node(_raw_bytes(root)), positions)


def write_tree(serialized: bytes, root: Node) -> bytes:
    """`serialized` with another tree in it, for `Env.deserialize`."""
    checked: list[tuple[int, int, Raw]] = [
        (number, wire, _write_node(root) if number == _CHECKED_EXPR else raw)
        for number, wire, raw in _checked_expr(serialized)
    ]
    return _join(
        [(number, wire, _join(checked) if number == _ANY_VALUE else raw) for number, wire, raw in _fields(serialized)]
    )


def needs_limits(root: Node, replacements: Container[str]) -> bool:
    """Whether `limit_tree` would change anything."""
    return any(
        node.kind == COMPREHENSION or (node.kind == CALL and node.text(CALL_FUNCTION) in replacements)
        for node in all_nodes(root)
    )


def limit_tree(root: Node, items_max: int, too_many: str, replacements: dict[str, str]) -> None:
    """Bound the work of an expression, in place.

    The range R of every macro becomes `cel.bind(r, R, size(r) <= items_max ? r : too_many())`, and a call of a method
    in `replacements` becomes a call of the named function with the target as its first argument.
    """
    ids = iter(range(1_000_000, 2_000_000))
    for node in all_nodes(root):
        if node.kind == COMPREHENSION:
            _limit_range(node, items_max, too_many, ids)
        elif node.kind == CALL and node.child(CALL_TARGET) is not None:
            _replace_method(node, replacements, ids)


def _limit_range(loop: Node, items_max: int, too_many: str, ids: Iterator[int]) -> None:
    def node(kind: int, *fields: tuple[int, int, Raw]) -> Node:
        return Node(kind, next(ids), list(fields))

    def ident() -> Node:
        return node(IDENT, (IDENT_NAME, _BYTES, _RANGE_NAME))

    def call(function: bytes, *args: Node) -> Node:
        return node(CALL, (CALL_FUNCTION, _BYTES, function), *((CALL_ARGS, _BYTES, arg) for arg in args))

    given = loop.child(LOOP_RANGE)
    if given is None or (given.kind == LIST and not given.children()):
        return
    size_fits = call(b"_<=_", call(b"size", ident()), node(CONSTANT, (CONSTANT_INT64, _VARINT, items_max)))
    bounded = node(
        COMPREHENSION,
        (LOOP_VARIABLE, _BYTES, b"#unused"),
        (LOOP_RANGE, _BYTES, node(LIST)),
        (LOOP_ACCUMULATOR, _BYTES, _RANGE_NAME),
        (LOOP_START, _BYTES, given),
        (LOOP_CONDITION, _BYTES, node(CONSTANT, (CONSTANT_BOOL, _VARINT, 0))),
        (LOOP_STEP, _BYTES, ident()),
        (LOOP_RESULT, _BYTES, call(b"_?_:_", size_fits, ident(), call(too_many.encode()))),
    )
    loop.fields = [(field, wire, bounded if field == LOOP_RANGE else raw) for field, wire, raw in loop.fields]


# No source text can spell this name.
_RANGE_NAME: Final = b"@range"


def _replace_method(call: Node, replacements: dict[str, str], ids: Iterator[int]) -> None:
    function = replacements.get(call.text(CALL_FUNCTION))
    if function is None:
        return
    # A fresh id, for what the checker noted about the old one (its overloads) no longer holds.
    call.id = next(ids)
    args = [*call.children(CALL_TARGET), *call.children(CALL_ARGS)]
    call.fields = [(CALL_FUNCTION, _BYTES, function.encode()), *((CALL_ARGS, _BYTES, arg) for arg in args)]


def all_nodes(node: Node) -> list[Node]:
    """The node and everything below it, each before what is below it."""
    found = [node]
    for above in found:  # grows while it is gone through
        for _, _, raw in above.fields:
            if isinstance(raw, Node):
                found.append(raw)
    return found


def _checked_expr(serialized: bytes) -> list[tuple[int, int, Raw]]:
    return _fields(next(_raw_bytes(raw) for number, _, raw in _fields(serialized) if number == _ANY_VALUE))


def _read_node(data: bytes) -> Node:
    node = Node(CONSTANT, 0, [])
    for number, _, raw in _fields(data):
        if number == 2 and isinstance(raw, int):
            node.id = raw
        elif number in _CHILD_FIELDS:
            node.kind = number
            node.fields = _read_fields(number, _raw_bytes(raw))
    return node


def _read_fields(kind: int, data: bytes) -> list[tuple[int, int, Raw]]:
    children = _CHILD_FIELDS[kind]
    return [
        (number, wire, _read_child(kind, _raw_bytes(raw)) if number in children else raw)
        for number, wire, raw in _fields(data)
    ]


def _read_child(kind: int, data: bytes) -> Node:
    return Node(ENTRY, 0, _read_fields(ENTRY, data)) if kind == STRUCT else _read_node(data)


def _write_node(node: Node) -> bytes:
    body = _join(node.fields)
    return body if node.kind == ENTRY else _join([(2, _VARINT, node.id), (node.kind, _BYTES, body)])


def _fields(data: bytes) -> list[tuple[int, int, Raw]]:
    """The fields of a message. Numbers below 128 are by far the most, and take one byte."""
    fields: list[tuple[int, int, Raw]] = []
    position, end = 0, len(data)
    while position < end:
        key, position = (data[position], position + 1) if data[position] < 0x80 else _read_varint(data, position)
        wire = key & 7
        if wire in _FIXED:
            size = 8 if wire == _FIXED64 else 4
        elif data[position] < 0x80:
            size, position = data[position], position + 1
        else:
            size, position = _read_varint(data, position)
        if wire == _VARINT:
            fields.append((key >> 3, wire, size))
            continue
        fields.append((key >> 3, wire, data[position : position + size]))
        position += size
    return fields


def _join(fields: list[tuple[int, int, Raw]]) -> bytes:
    parts: list[bytes] = []
    for number, wire, raw in fields:
        parts.append(_write_varint(number << 3 | wire))
        if isinstance(raw, int):
            parts.append(_write_varint(raw))
            continue
        body = _write_node(raw) if isinstance(raw, Node) else raw
        if wire == _BYTES:
            parts.append(_write_varint(len(body)))
        parts.append(body)
    return b"".join(parts)


def _raw_bytes(raw: Raw) -> bytes:
    assert isinstance(raw, bytes), "a message field holds bytes"
    return raw


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _write_varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)

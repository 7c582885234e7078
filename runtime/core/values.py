"""JSON values as the engine sees them: strict at the edge, fast and trusting inside.

A value that came in from outside goes through `parse_json` (text) or `check_value` (Python objects) exactly once;
after that every part may rely on the rules below and uses `encode` and `decode`.

- Integers are int64 and stay integers; floats are finite; `2`, `2.0` and `-0.0` stay what they are.
- Strings are Unicode without lone surrogates; an object has each key once.
- Nesting is bounded by `JSON_DEPTH_MAX`, so that no recursion anywhere runs out of stack.
- A payload that is not JSON is an `Opaque`, and a sensitive value that lies elsewhere is a `Sealed`. Inside JSON they
  are stored as objects with the reserved keys `$callboard.opaque` and `$callboard.sensitive`, which therefore nobody
  else may use.
"""

import json
import re
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, Final, NoReturn, TypeAlias, TypeGuard, TypeVar, cast

import msgspec

_Kind = TypeVar("_Kind")

JSON_DEPTH_MAX: Final = 128
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
OPAQUE_KEY: Final = "$callboard.opaque"
SEALED_KEY: Final = "$callboard.sensitive"
RESERVED_KEYS: Final = (OPAQUE_KEY, SEALED_KEY)
MARK: Final = b'"$callboard.'
"""JSON without these bytes holds no `Opaque` and no `Sealed`."""
SEALED_MARK: Final = f'"{SEALED_KEY}"'.encode()
"""JSON without these bytes holds no `Sealed`."""
REDACTED: Final = "[redacted]"
"""What people see in the place of a sensitive value."""


class Opaque(msgspec.Struct, frozen=True, tag_field=OPAQUE_KEY, tag=1):
    """A payload that is not JSON: it passes through whole and cannot be looked into.

    The reserved key is the struct's tag, so every msgspec encoder writes the stored form by itself.
    """

    content_type: str
    data: bytes


class Sealed(msgspec.Struct, frozen=True, tag_field=SEALED_KEY, tag=REDACTED):
    """Stands for a sensitive value, which lies in the erasable side table of its execution.

    The stored form says `[redacted]` by itself, so that whoever reads raw JSON sees what everybody else does.
    """

    commitment: str
    """Binds the value without telling it: the SHA-256 of a random salt and the value, as base64url."""


# `Any` inside the containers: a recursive alias is invariant and would make every caller copy its own lists and dicts.
Value: TypeAlias = bool | int | float | str | Opaque | Sealed | list[Any] | dict[str, Any] | None


class ValueRefused(Exception):
    """The value breaks a rule of this module: the sender has to change it, a retry cannot help."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.reason = reason
        """What is wrong, as a sentence for the sender."""
        self.where = where
        """The path (`lines[3].sku`) or the position (`line 1 column 7`); empty for the whole value."""


def encode(value: Value) -> bytes:
    """JSON for storage and for the wire; `value` must have passed the edge."""
    return _encoder.encode(value)


def decode(data: bytes) -> Value:
    """The value of bytes written by `encode`: nothing is checked, and only a stored `Opaque` or `Sealed` costs a
    walk."""
    value = _decoder.decode(data)
    return revive(value) if MARK in data else cast(Value, value)


def canonical(value: Value) -> bytes:
    """One spelling for equal values (keys sorted), for fingerprints; `2` and `2.0` stay different."""
    return _canonical_encoder.encode(value)


def revive(value: Any) -> Value:
    """Turn each stored form of an `Opaque` or a `Sealed` inside a decoded value back into what it stands for."""
    if isinstance(value, dict):
        members = cast(dict[str, Any], value)
        if OPAQUE_KEY in members:
            return msgspec.convert(members, Opaque)
        if SEALED_KEY in members:
            return msgspec.convert(members, Sealed)
        return {key: revive(item) for key, item in members.items()}
    if _is_list(value):
        return [revive(item) for item in value]
    return cast(Value, value)


def replace_each(value: Any, kind: type[_Kind], replacement: Callable[[_Kind], Any]) -> Any:
    """The value with something else in the place of each of a kind in it; containers without one are shared."""
    if type(value) is kind:
        return replacement(value)
    if isinstance(value, dict):
        members = cast(dict[str, Any], value)
        replaced = {key: replace_each(item, kind, replacement) for key, item in members.items()}
        return replaced if any(replaced[key] is not item for key, item in members.items()) else members
    if _is_list(value):
        items = [replace_each(item, kind, replacement) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def redacted(value: Value) -> Value:
    """The value as people see it."""
    return cast(Value, replace_each(value, Sealed, lambda _: REDACTED))


def redacted_json(data: bytes) -> bytes:
    """The same for stored JSON."""
    return encode(redacted(decode(data))) if SEALED_MARK in data else data


def sealed_in(data: bytes) -> list[str]:
    """The commitments in stored JSON, each once, in the order in which they stand there."""
    found: dict[str, None] = {}
    if SEALED_MARK in data:
        replace_each(decode(data), Sealed, lambda sealed: found.setdefault(sealed.commitment))
    return list(found)


def parse_json(text: str | bytes) -> Value:
    """The value of JSON that came from outside; raises `ValueRefused`.

    The fast decoder keeps the last of duplicate keys and takes any integer. Whatever might hide one of those is read
    again by the slow, exact reader, which also finds the words for every refusal.
    """
    try:
        data = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise ValueRefused("a lone surrogate is no Unicode text", f"character {error.start + 1}") from None
    outline = data.translate(_OUTLINE)
    if not (_LONG_NUMBER in outline or _ESCAPED_UNICODE in outline or _SPACED_COLON in outline):
        try:
            value = _decoder.decode(data)
            # Every key ends in its own `":`, so with one for each key that is left no key was dropped.
            if _count_keys(value, JSON_DEPTH_MAX) == outline.count(_KEY_END):
                return cast(Value, value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _LookCloser):
            pass
    return _parse_exactly(data)


def check_value(value: object) -> Value:
    """A value made by Python code, under the same rules, in fresh containers; raises `ValueRefused`.

    Tuples become lists. The copy keeps the caller's later changes out of the engine's state.
    """
    return _check_whole(value)


_encoder: Final = msgspec.json.Encoder()
_canonical_encoder: Final = msgspec.json.Encoder(order="sorted")
_decoder: Final = msgspec.json.Decoder()
# The outline keeps what the quick tests look for, with one byte for all digits and one for all white space: searching
# it for fixed strings is several times faster than one regular expression over the text.
_OUTLINE: Final = bytes.maketrans(b"0123456789\t\r\n", b"0000000000   ")
_LONG_NUMBER: Final = b"0" * 19  # from here on an integer may leave int64
_ESCAPED_UNICODE: Final = b"\\u"  # may be a lone surrogate
_SPACED_COLON: Final = b" :"  # would make a key end in something other than `":`
_KEY_END: Final = b'":'


def _is_list(value: object) -> TypeGuard[list[Any]]:
    """`isinstance` alone proves a list of unknown items to one type checker and a list of anything to the other."""
    return isinstance(value, list)


class _LookCloser(Exception):
    """The fast way met something that has to be explained."""


def _count_keys(value: Any, depth_left: int) -> int:
    items: Iterable[Any]
    if isinstance(value, dict):
        members = cast(dict[str, Any], value)
        if OPAQUE_KEY in members or SEALED_KEY in members:
            raise _LookCloser
        items = members.values()
        count = len(members)
    elif _is_list(value):
        items = value
        count = 0
    else:
        return 0
    if depth_left == 0:
        raise _LookCloser
    for item in items:
        if type(item) is dict or type(item) is list:
            count += _count_keys(item, depth_left - 1)
    return count


class _TwiceTheKey(dict[str, Any]):
    """An object in which `key` stood more than once; it stands in until the walk knows its path."""

    key: str


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = _TwiceTheKey(found)
    seen: set[str] = set()
    marked.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return marked


def _constant(name: str) -> NoReturn:
    raise ValueRefused(f"{name} is not JSON")


def _integer(digits: str) -> int:
    """More digits than int64 has are cut to a number outside of it: Python limits (and takes long over) huge ones."""
    return int(digits[:25])


def _parse_exactly(data: bytes) -> Value:
    try:
        parsed = json.loads(data.decode(), object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise ValueRefused("invalid UTF-8", f"byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise ValueRefused(f"not JSON: {error.msg}", f"line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueRefused(_TOO_DEEP) from None
    return _check_whole(parsed)


_TOO_DEEP: Final = f"nested deeper than {JSON_DEPTH_MAX} levels (json_depth_max)"


class _Refusal(Exception):
    """A refusal on its way up; each container adds the step that led down, so that good values pay for no path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps_up: list[str | int] = []


def _check_whole(value: object) -> Value:
    try:
        return _checked(value, JSON_DEPTH_MAX)
    except _Refusal as refusal:
        path = tuple(reversed(refusal.steps_up))
        where = format_path(path[:8]) + ("..." if len(path) > 8 else "")
        raise ValueRefused(refusal.reason, where) from None


def _checked(value: object, depth_left: int) -> Value:
    check = _CHECKS.get(type(value)) or next((_CHECKS[kind] for kind in _CHECKS if isinstance(value, kind)), None)
    if check is None:
        raise _Refusal(f"{type(value).__name__} is not a JSON value")
    return check(value, depth_left)


def _checked_object(value: dict[object, object], depth_left: int) -> Value:
    if depth_left == 0:
        raise _Refusal(_TOO_DEEP)
    if isinstance(value, _TwiceTheKey):
        raise _Refusal(f"the key {json.dumps(value.key)} stands here twice")
    for reserved in RESERVED_KEYS:
        if reserved in value:
            raise _Refusal(f"the key {reserved} is reserved")
    checked: dict[str, Value] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _Refusal(f"the key {key!r} is not a string")
        try:
            checked[_checked_text(key)] = _checked(item, depth_left - 1)
        except _Refusal as refusal:
            refusal.steps_up.append(key)
            raise
    return checked


def _checked_list(value: list[object] | tuple[object, ...], depth_left: int) -> Value:
    if depth_left == 0:
        raise _Refusal(_TOO_DEEP)
    checked: list[Value] = []
    for item in value:
        try:
            checked.append(_checked(item, depth_left - 1))
        except _Refusal as refusal:
            refusal.steps_up.append(len(checked))
            raise
    return checked


def _checked_text(value: str, _depth_left: int = 0) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Refusal("a lone surrogate is no Unicode text") from None
    return value if type(value) is str else str.__str__(value)


def _checked_integer(value: int, _depth_left: int) -> Value:
    if not INT64_MIN <= value <= INT64_MAX:
        raise _Refusal("the integer does not fit int64; send it as a string")
    return int(value)


def _checked_float(value: float, _depth_left: int) -> Value:
    if not isfinite(value):
        raise _Refusal("NaN, Infinity and numbers too large for a double are not JSON")
    return float(value)


def _checked_opaque(value: Opaque, _depth_left: int) -> Value:
    _checked_text(value.content_type)
    return value


def _as_it_is(value: Any, _depth_left: int) -> Value:
    return cast(Value, value)


# `bool` stands before `int`, whose subclass it is: the first match decides for subclasses.
_CHECKS: Final[dict[type, Callable[[Any, int], Value]]] = {
    type(None): _as_it_is,
    bool: _as_it_is,
    str: _checked_text,
    int: _checked_integer,
    float: _checked_float,
    dict: _checked_object,
    list: _checked_list,
    tuple: _checked_list,
    Opaque: _checked_opaque,
    Sealed: _as_it_is,
}


def format_path(path: tuple[str | int, ...]) -> str:
    """`("lines", 3, "sku", "a b")` as people write it: `lines[3].sku["a b"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)}]"
    return text


_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

"""The CEL library behind the engine's own words: compile, evaluate, and turn what comes out into a value or an error.

What the library does that must not leak out of here: a failing evaluation comes back as an error *value* (or is
raised), `map` and `filter` take quadratic time, an optional inside a result crashes the interpreter, the order of a
map's keys differs from process to process.
"""

import re
from calendar import monthrange
from datetime import datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from cel_expr_python import cel  # pyright: ignore[reportMissingTypeStubs]
from cel_expr_python.ext import ext_math, ext_optional, ext_strings  # pyright: ignore[reportMissingTypeStubs]

from . import cel_tree
from .durations import format_seconds, format_timestamp, from_datetime
from .values import INT64_MAX, RESERVED_KEYS, Value

EXPRESSION_ITEMS_MAX: Final = 500
"""Items of a list (or keys of a map) that a macro such as `map` or `filter` goes through."""

EXPRESSION_TEXT_CHARS_MAX: Final = 4_000_000
"""Characters of a text that `replace` or `join` makes."""

ENVIRONMENTS_MAX: Final = 256


class CelCompileError(Exception):
    """The library refuses the source; `line` and `column` are 1-based."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


class CelFailure(Exception):
    """An evaluation without a usable result; the text is the library's, without its status codes."""


class Program:
    """A compiled expression with its limits in place. Evaluating it is safe from several threads."""

    __slots__ = ("_eval", "_may_be_optional")

    def __init__(self, expression: cel.Expression, may_be_optional: bool) -> None:
        self._eval = expression.eval
        self._may_be_optional = may_be_optional

    def run(self, data: dict[str, object]) -> Value:
        """The result for these variables; raises `CelFailure`."""
        try:
            outcome = self._eval(data=data)
            plain = _unpack(outcome) if self._may_be_optional else outcome.plain_value()
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise CelFailure(_without_codes(str(error))) from None
        kind = type(plain)
        if kind is bool:
            return cast(bool, plain)
        # An error value, too, is a string by now.
        if kind is str and outcome.type() == _ERROR:
            raise CelFailure(_without_codes(cast(str, plain)))
        return _to_value(plain)


def compile_program(source: str, variables: frozenset[str]) -> tuple[Program, cel_tree.Tree]:
    """Compile `source`, which may name these variables; raises `CelCompileError`. The tree is that of the source."""
    checked = _checked(source, variables)
    if checked.return_type().name().startswith("optional_type"):
        raise CelCompileError("the result is an optional; end with .orValue(...)", 1, 1)
    serialized = checked.serialize()
    tree = cel_tree.read_tree(serialized)
    may_be_optional = _makes_optionals(tree.root)
    if cel_tree.needs_limits(tree.root, _BOUNDED_METHODS):
        limited = cel_tree.read_tree(serialized).root
        cel_tree.limit_tree(limited, EXPRESSION_ITEMS_MAX, _TOO_MANY, _BOUNDED_METHODS)
        checked = _environment(variables).deserialize(cel_tree.write_tree(serialized, limited))
    return Program(checked, may_be_optional), tree


def compile_plain(source: str, variables: frozenset[str]) -> Program:
    """The same for a `source` of which `cel_names.find_plain` tells the references: no limits, no optionals."""
    return Program(_checked(source, variables), may_be_optional=False)


def _checked(source: str, variables: frozenset[str]) -> cel.Expression:
    try:
        return _environment(variables).compile(source)
    except RuntimeError as error:
        raise _compile_error(str(error), source) from None


@lru_cache(maxsize=ENVIRONMENTS_MAX)
def _environment(variables: frozenset[str]) -> cel.Env:
    declared = {name: cel.Type.TIMESTAMP if name == "now" else cel.Type.DYN for name in variables}
    extensions = [ext_math.ExtMath(), ext_strings.ExtStrings(), ext_optional.ExtOptional()]
    return cel.NewEnv(variables=declared, extensions=extensions, functions=_functions())


# Names that no source text can spell.
_TOO_MANY: Final = "@too_many"
_BOUNDED_METHODS: Final = {"replace": "@replace", "join": "@join"}
_ERROR: Final = cel.Type.ERROR


def _functions() -> list[cel.FunctionDecl]:
    kind = cel.Type
    texts = kind.List(kind.DYN)

    def declare(name: str, returns: cel.Type, impl: Any, *signatures: list[cel.Type]) -> cel.FunctionDecl:
        overloads = [
            cel.Overload(id=f"{name}_{len(parameters)}", return_type=returns, parameters=parameters, impl=impl)
            for parameters in signatures
        ]
        return cel.FunctionDecl(name, overloads)

    return [
        declare("add_months", kind.TIMESTAMP, add_months, [kind.TIMESTAMP, kind.INT, kind.STRING]),
        declare(_TOO_MANY, kind.DYN, _too_many, []),
        declare("@replace", kind.STRING, _replace, [kind.STRING] * 3, [kind.STRING] * 3 + [kind.INT]),
        declare("@join", kind.STRING, _join, [texts], [texts, kind.STRING]),
    ]


def add_months(moment: datetime, months: int, zone: str) -> datetime:
    """The same local time `months` later in an IANA zone; a day the month does not have becomes its last one."""
    try:
        local = moment.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        raise ValueError(f"add_months: unknown time zone {zone!r}") from None
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise ValueError("add_months: the result is outside of the years 1 to 9999")
    day = min(local.day, monthrange(year, month + 1)[1])
    return local.replace(year=year, month=month + 1, day=day).astimezone(moment.tzinfo)


def _too_many() -> None:
    raise ValueError(f"a macro goes through at most {EXPRESSION_ITEMS_MAX} items (expression_items_max)")


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old) if count < 0 else min(count, text.count(old))
    _check_length(len(text) + found * (len(new) - len(old)))
    return text.replace(old, new, found)


def _join(parts: list[object], separator: str = "") -> str:
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) != len(parts):
        raise ValueError("join: every item has to be a string; string(x) makes one")
    _check_length(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _check_length(chars: int) -> None:
    if chars > EXPRESSION_TEXT_CHARS_MAX:
        raise ValueError(f"the text would be longer than {EXPRESSION_TEXT_CHARS_MAX} characters")


# --- results -----------------------------------------------------------------------------------------------------

# Whatever can make an optional; unpacking one the fast way crashes the interpreter.
_OPTIONAL_MAKERS: Final = frozenset(("_?._", "_[?_]", "of", "ofNonZeroValue", "none", "first", "last"))


def _makes_optionals(root: cel_tree.Node) -> bool:
    # `optional.of` is one name or a method of `optional`, depending on what the checker made of it.
    return any(
        node.kind == cel_tree.CALL
        and not _OPTIONAL_MAKERS.isdisjoint((function := node.text(cel_tree.CALL_FUNCTION), function.split(".")[-1]))
        for node in cel_tree.all_nodes(root)
    )


def _unpack(value: Any) -> object:
    """What `plain_value` does, except that an optional in there is a failure; slower."""
    if value.type() == _ERROR:
        text = repr(value)
        raise CelFailure(_OPTIONAL_RESULT if text.startswith("optional.") else _without_codes(text))
    plain = value.value()
    if isinstance(plain, list):
        return [_unpack(item) for item in cast(list[object], plain)]
    if isinstance(plain, dict):
        return {key: _unpack(item) for key, item in cast(dict[object, object], plain).items()}
    return plain


_OPTIONAL_RESULT: Final = "there is an optional in the result; end it with .orValue(...)"


def _to_value(plain: object) -> Value:
    match plain:
        case None | bool() | str():
            return plain
        case int():
            return _int64(plain)
        case float():
            return _finite(plain)
        case list():
            return [_to_value(item) for item in cast(list[object], plain)]
        case dict():
            return _object(cast(dict[object, object], plain))
        case datetime():
            return format_timestamp(from_datetime(plain))
        case timedelta():
            return format_seconds(plain // timedelta(microseconds=1))
        case bytes() | bytearray():
            raise CelFailure("bytes in the result have no JSON form")
        case _:
            raise CelFailure(f"{plain} in the result has no JSON form; string(x) makes a text of it")


def _object(plain: dict[object, object]) -> Value:
    for key in plain:
        if not isinstance(key, str):
            raise CelFailure(f"the key {key} in the result is not a string, as JSON needs it")
    for reserved in RESERVED_KEYS:
        if reserved in plain:
            raise CelFailure(f"the key {reserved} in the result is reserved")
    # The library's order of keys is arbitrary; sorted, the same expression prints the same text everywhere.
    members = cast(dict[str, object], plain)
    return {key: _to_value(members[key]) for key in sorted(members)}


def _int64(number: int) -> Value:
    if number > INT64_MAX:
        raise CelFailure("an unsigned integer in the result does not fit int64")
    return number


def _finite(number: float) -> Value:
    if not isfinite(number):
        raise CelFailure(f"{number} in the result is not a JSON number")
    return number


# --- messages ----------------------------------------------------------------------------------------------------

_STATUS: Final = re.compile(r"^(?:[A-Z][A-Z_]+: )+|(?: \[[A-Z_]+\])+$")
_COMPILE_ERROR: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")


def _without_codes(text: str) -> str:
    return _STATUS.sub("", text)


def _compile_error(text: str, source: str) -> CelCompileError:
    found = [
        (_without_codes(message), max(1, int(line)), max(1, int(column)))
        for line, column, message in _COMPILE_ERROR.findall(text)
    ]
    if not found:
        return CelCompileError(_without_codes(text.partition("\n")[0]), 1, 1)
    # A call that is unknown also leaves the variables of an unknown macro unknown: the call is what to correct.
    lines = source.split("\n")
    message, line, column = next(
        (error for error in found if lines[min(error[1], len(lines)) - 1][error[2] - 1 : error[2]] == "("), found[0]
    )
    return CelCompileError(message, line, column)

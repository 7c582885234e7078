"""Templates: JSON values of a definition in whose strings `${...}` stands for an expression.

A string that is exactly one `${...}` becomes the expression's value with its type; in any other string the value is
put in as text. `$${` is a literal `${`. One pass: what an expression yields is never expanded again. Keys of objects
are taken as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from .compiled import (
    Expression,
    ExpressionError,
    ExpressionSyntaxError,
    Lookup,
    Names,
    compile_part,
    expression_end,
    position_of,
    reveal,
)
from .sealing import Tainted, Unsealing
from .values import JSON_DEPTH_MAX, Opaque, Value, encode, format_path

_Path: TypeAlias = tuple[str | int, ...]
_Make: TypeAlias = Callable[[Lookup], Value]


class TemplateSyntaxError(Exception):
    """The template has expressions that can never work; `errors` names all of them with their places."""

    def __init__(self, errors: list[ExpressionSyntaxError]) -> None:
        super().__init__("; ".join(f"{error.where}: {error.message}" for error in errors))
        self.errors = tuple(errors)


class Text(NamedTuple):
    """One string with expressions in it, within a template."""

    path: _Path
    source: str
    references: tuple[tuple[str, ...], ...]
    """As `Expression.references`, of all its expressions."""
    guarded: frozenset[str]
    """As `Expression.guarded`, of all its expressions."""


class Template:
    """A compiled template; immutable, to be shared freely."""

    __slots__ = ("_make", "_value", "constant", "texts")

    def __init__(self, value: Value, make: _Make | None, texts: list[Text]) -> None:
        self._value = value
        self._make = make
        self.constant = make is None
        """There is no expression in it: evaluating returns the value itself."""
        self.texts = tuple(texts)
        """The strings that have expressions, in order."""

    @property
    def references(self) -> tuple[tuple[str, ...], ...]:
        """As `Expression.references`, of all its expressions."""
        return _references(self.texts)

    @property
    def guarded(self) -> frozenset[str]:
        """The ids of steps that it only ever names under `has()`, `.?` or a condition."""
        return _guarded(self.texts)

    def evaluate(self, lookup: Lookup) -> Value:
        """The value with every expression replaced; raises `ExpressionError` with the place in `where`."""
        return self._value if self._make is None else self._make(lookup)


def compile_template(value: Value, names: Names, where: str = "") -> Template:
    """The template; `where` is the path of the whole, for messages. Raises `TemplateSyntaxError`."""
    compiler = _Compiler(names, where)
    plain, make = compiler.compile(value, ())
    if compiler.errors:
        raise TemplateSyntaxError(compiler.errors)
    return Template(plain, make, compiler.texts)


def _text(path: _Path, source: str, expressions: list[Expression]) -> Text:
    if len(expressions) == 1:
        return Text(path, source, expressions[0].references, expressions[0].guarded)
    return Text(path, source, _references(expressions), _guarded(expressions))


def _references(parts: Sequence[Expression | Text]) -> tuple[tuple[str, ...], ...]:
    return tuple(dict.fromkeys(path for part in parts for path in part.references))


def _guarded(parts: Sequence[Expression | Text]) -> frozenset[str]:
    named = {path[1] for path in _references(parts) if path[0] == "steps"}
    return frozenset(step for step in named if all(_guards(part, step) for part in parts))


def _guards(part: Expression | Text, step: str) -> bool:
    return step in part.guarded or not any(path[:2] == ("steps", step) for path in part.references)


_OPEN: Final = "${"
_UNCLOSED: Final = "`${` has no `}` that closes it"


class _Compiler:
    """Collects all errors of a template instead of stopping at the first."""

    def __init__(self, names: Names, where: str) -> None:
        self._names = names
        self._where = where
        self.errors: list[ExpressionSyntaxError] = []
        self.texts: list[Text] = []

    def compile(self, value: Value, path: _Path) -> tuple[Value, _Make | None]:
        """The value with `$${` resolved, and how to make it when it has expressions."""
        if len(path) > JSON_DEPTH_MAX:
            self._refuse(ExpressionSyntaxError(f"nested deeper than {JSON_DEPTH_MAX} levels", 1, 1), path[:8])
            return value, None
        match value:
            case str():
                return self._text(value, path)
            case list():
                return self._list(value, path)
            case dict():
                return self._object(value, path)
            case _:
                return value, None

    def _list(self, items: list[Any], path: _Path) -> tuple[Value, _Make | None]:
        compiled = [self.compile(item, (*path, index)) for index, item in enumerate(items)]
        if all(make is None for _, make in compiled):
            return [plain for plain, _ in compiled], None
        parts = [make or _always(plain) for plain, make in compiled]
        return None, lambda lookup: [part(lookup) for part in parts]

    def _object(self, members: dict[str, Any], path: _Path) -> tuple[Value, _Make | None]:
        compiled = {key: self.compile(item, (*path, key)) for key, item in members.items()}
        if all(make is None for _, make in compiled.values()):
            return {key: plain for key, (plain, _) in compiled.items()}, None
        parts = [(key, make or _always(plain)) for key, (plain, make) in compiled.items()]
        return None, lambda lookup: {key: part(lookup) for key, part in parts}

    def _text(self, text: str, path: _Path) -> tuple[Value, _Make | None]:
        if _OPEN not in text:
            return text, None
        where = self._place(path)
        try:
            parts = list(self._parts(text))
        except ExpressionSyntaxError as error:
            self._refuse(error, path)
            return text, None
        if all(isinstance(part, str) for part in parts):
            return "".join(cast(list[str], parts)), None
        self.texts.append(_text(path, text, [part for part in parts if not isinstance(part, str)]))
        if len(parts) == 1:
            return None, _whole(cast(Expression, parts[0]), where)
        return None, _interpolation(parts, where)

    def _parts(self, text: str) -> Iterator[str | Expression]:
        position = 0
        while (start := text.find(_OPEN, position)) >= 0:
            if start > position and text[start - 1] == "$":
                yield text[position : start - 1] + _OPEN
                position = start + 2
                continue
            if start > position:
                yield text[position:start]
            end = expression_end(text, start + 2)
            if end < 0:
                raise ExpressionSyntaxError(_UNCLOSED, *position_of(text, start), "write $${ for a literal ${")
            yield compile_part(text, start + 2, end, self._names)
            position = end + 1
        if position < len(text):
            yield text[position:]

    def _place(self, path: _Path) -> str:
        inside = format_path(path)
        return self._where + (f".{inside}" if self._where and inside and inside[0] != "[" else inside)

    def _refuse(self, error: ExpressionSyntaxError, path: _Path) -> None:
        error.where = self._place(path)
        self.errors.append(error)


def _always(value: Value) -> _Make:
    return lambda _lookup: value


def _whole(expression: Expression, where: str) -> _Make:
    def make(lookup: Lookup) -> Value:
        try:
            return expression.evaluate(lookup)
        except ExpressionError as error:
            error.where = where
            raise

    return make


def _interpolation(parts: list[str | Expression], where: str) -> _Make:
    pieces: list[str | tuple[_Make, str]] = [
        part if isinstance(part, str) else (_whole(part, where), part.source) for part in parts
    ]

    def make(lookup: Lookup) -> Value:
        if isinstance(lookup, Unsealing):
            return cast(Value, _revealed_text(pieces, lookup, where))
        return "".join(
            piece if isinstance(piece, str) else _as_text(piece[0](lookup), piece[1], where) for piece in pieces
        )

    return make


def _revealed_text(pieces: list[str | tuple[_Make, str]], lookup: Unsealing, where: str) -> object:
    """The same where a piece may be sensitive; then the text is."""
    texts: list[str] = []
    sensitive = False
    for piece in pieces:
        if isinstance(piece, str):
            texts.append(piece)
            continue
        value, seen = reveal(piece[0](lookup), lookup, piece[1])
        sensitive = sensitive or seen
        texts.append(_as_text(value, piece[1], where))
    text = "".join(texts)
    return Tainted(text) if sensitive else text


def _as_text(value: Value, source: str, where: str) -> str:
    """Strings as they are, anything else as JSON."""
    if isinstance(value, str):
        return value
    if _holds_opaque(value):
        raise ExpressionError("a payload that is not JSON cannot become part of a text", source, where=where)
    return encode(value).decode()


def _holds_opaque(value: Value) -> bool:
    if isinstance(value, dict):
        return any(_holds_opaque(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_opaque(item) for item in value)
    return isinstance(value, Opaque)

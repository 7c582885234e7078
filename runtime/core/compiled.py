"""How an expression is compiled and evaluated: a path by walking, everything else by CEL.

An expression gets the values it names and nothing else. One that is only a path (`steps.reserve.result.id`) needs no
CEL at all. Names are checked when the definition is published; every failure at run time is an `ExpressionError`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgspec

from . import cel_engine, cel_names
from .cel_names import Reference
from .durations import format_timestamp, to_datetime
from .sealing import ErasedError, Tainted, Unsealing, opened
from .values import Opaque, Sealed, Value

EXPRESSION_CHARS_MAX: Final = 10_000
PROGRAMS_MAX: Final = 4096
"""Compiled expressions that are kept, whoever uses them."""

ROOTS: Final = frozenset(
    [
        *("input", "steps", "vars", "event", "item", "index", "attempt", "result", "args", "error", "outcome"),
        *("original_key", "trigger", "execution", "now"),
    ]
)

RESERVED_WORDS: Final = frozenset(
    [
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"),
        *("let", "loop", "package", "namespace", "return", "var", "void", "while", "bool", "bytes", "double", "int"),
        *("list", "map", "null_type", "string", "type", "uint", "dyn", "duration", "timestamp", "google", "math"),
        *("optional", "optional_type", "strings", "has", "size", "matches"),
    ]
)
"""Words with a meaning in CEL: no step id and no item name may be one of them."""


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""What a lookup returns for a name without a value."""

Lookup: TypeAlias = Callable[[str, str], object]
"""`lookup(root, "")`, and `lookup("steps", id)` for a dict with those of `result`, `error`, `failures` there are.
`lookup("now", "")` is integer microseconds since the epoch. `MISSING` for what has no value."""


class Names(msgspec.Struct, frozen=True):
    """What an expression may name at the place where it stands."""

    roots: frozenset[str]
    """Those of `ROOTS` that exist there; `item` only when it is the name of an item."""
    steps: frozenset[str] = frozenset()
    """The ids of the steps whose results are visible."""
    hidden_steps: frozenset[str] = frozenset()
    """Steps of the definition inside a `foreach` or `loop` that the expression is outside of."""
    items: frozenset[str] = frozenset()
    """Names of the items of the `foreach` scopes around it."""


class ExpressionSyntaxError(Exception):
    """The text is no expression that could ever work here: its author has to change it."""

    def __init__(self, message: str, line: int, column: int, hint: str = "", where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        """1-based, within the text that was compiled."""
        self.column = column
        """1-based, in characters."""
        self.hint = hint
        self.where = where
        """The place inside a template, such as `input.lines[2].sku`; empty for an expression that stands alone."""


class ExpressionError(Exception):
    """The evaluation failed for the values of this execution; a definition's `has(...)` or `.?` may avoid it."""

    def __init__(self, message: str, source: str, hint: str = "", where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.source = source
        self.hint = hint
        self.where = where
        """The place inside a template, such as `input.sku`; empty for an expression that stands alone."""


class Expression(ABC):
    """A compiled expression; immutable, to be shared freely."""

    __slots__ = ("guarded", "references", "source")

    def __init__(self, source: str, references: Iterable[Reference]) -> None:
        found = list(references)
        self.source = source
        self.references: tuple[tuple[str, ...], ...] = tuple(dict.fromkeys(one.path for one in found))
        """The paths it names: `("input", "sku")`, `("steps", "reserve", "result", "id")`; an index ends a path."""
        unguarded = {one.path[1] for one in found if one.path[0] == "steps" and not one.guarded}
        steps = {one.path[1] for one in found if one.path[0] == "steps"}
        self.guarded: frozenset[str] = frozenset(steps - unguarded)
        """The ids of steps that it only ever names under `has()`, `.?` or a condition."""

    @abstractmethod
    def evaluate(self, lookup: Lookup) -> Value:
        """The value for what `lookup` finds; raises `ExpressionError`."""


def compile_expression(source: str, names: Names) -> Expression:
    """The expression of a bare-CEL field, which may also be written as one `${...}`; raises `ExpressionSyntaxError`."""
    start, end = bare_bounds(source)
    return compile_part(source, start, end, names)


def evaluate_bool(expression: Expression, lookup: Lookup) -> bool:
    """For `when`, `filter`, `until`: anything but true or false is an `ExpressionError`."""
    value: object = expression.evaluate(lookup)
    if isinstance(value, bool):
        return value
    if isinstance(lookup, Unsealing):
        value = reveal(value, lookup, expression.source)[0]
        if isinstance(value, bool):
            return value
    found = "null" if value is None else type(value).__name__
    raise ExpressionError(f"the condition is {found}, not true or false", expression.source)


def reveal(value: object, lookup: Unsealing, source: str) -> tuple[Any, bool]:
    """A value in the clear, and whether there is anything sensitive in it; raises `ExpressionError`."""
    try:
        return opened(value, lookup.vault)
    except ErasedError:
        raise ExpressionError("needs a sensitive value that is not there any more", source) from None


def compile_part(text: str, start: int, end: int, names: Names) -> Expression:
    """The expression `text[start:end]`, with errors located in the whole `text`."""
    source = text[start:end]
    if len(source) > EXPRESSION_CHARS_MAX:
        message = f"an expression has at most {EXPRESSION_CHARS_MAX} characters (expression_chars_max)"
        raise ExpressionSyntaxError(message, *position_of(text, start))
    if not source.strip():
        raise ExpressionSyntaxError("an empty expression", *position_of(text, start))
    try:
        return _compile(source, names)
    except cel_names.NameProblem as problem:
        line, column = position_of(text, start + problem.offset)
        raise ExpressionSyntaxError(problem.message, line, column, problem.hint) from None


def bare_bounds(text: str) -> tuple[int, int]:
    """Where the CEL stands in a bare-CEL field: all of it, or what one `${...}` around all of it holds."""
    stripped = text.strip()
    if stripped.startswith("${"):
        start = text.index("${") + 2
        end = expression_end(text, start)
        if end == text.rindex(stripped[-1]) and stripped.endswith("}"):
            return start, end
    return 0, len(text)


def expression_end(text: str, start: int) -> int:
    """The index of the `}` that closes the `${` before `start`; -1 when there is none."""
    plain = _PLAIN_END.match(text, start)
    if plain is not None:
        return plain.end() - 1
    depth = 0
    for token in _TOKEN.finditer(text, start):
        mark = token.group()
        if mark == "{":
            depth += 1
        elif mark == "}":
            if depth == 0:
                return token.start()
            depth -= 1
    return -1


def position_of(text: str, offset: int) -> tuple[int, int]:
    """Line and column, 1-based, of a character."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


# Braces inside of strings, quoted names and comments do not count. Raw strings know no escapes.
_TOKEN: Final = re.compile(
    r'''(?:[rR][bB]?|[bB][rR])(?:"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"[^"\n]*"|'[^'\n]*')'''
    r'''|[bB]?(?:"""(?:\\[\s\S]|[^\\])*?"""|\'\'\'(?:\\[\s\S]|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')'''
    r"""|[A-Za-z_]\w*|`[^`\n]*`|//[^\n]*|[{}]"""
)
# Up to a brace, with nothing before it that could hide one.
_PLAIN_END: Final = re.compile(r"""[^{}"'`/]*\}""")
_PATH: Final = re.compile(
    r"""\s*([A-Za-z_]\w*)((?:\.[A-Za-z_]\w*|\[(?:\d{1,9}|"[^"\\\n]*"|'[^'\\\n]*')\])*)\s*""", re.ASCII
)
_PATH_PART: Final = re.compile(r"""\.(\w+)|\[(\d+)\]|\[["']([^"']*)["']\]""", re.ASCII)
_NOT_SELECTABLE: Final = frozenset(("true", "false", "null", "in"))


def _compile(source: str, names: Names) -> Expression:
    match = _PATH.fullmatch(source)
    if match is not None:
        root: str = match[1]
        keys: list[str | int] = [
            int(index) if index else name or text for name, index, text in _PATH_PART.findall(match[2])
        ]
        is_name = root not in RESERVED_WORDS or root in names.items
        if is_name and not re.search(r"""\[".*'.*"]|\['.*".*']""", source) and _NOT_SELECTABLE.isdisjoint(keys):
            return _compile_path(source, root, keys, match.start(1), names)
    program = _program(source, names.items)
    cel_names.check(program.references, names)
    return _Cel(source, program)


def _compile_path(source: str, root: str, keys: list[str | int], offset: int, names: Names) -> Expression:
    named: list[str] = [root]
    for key in keys:
        if isinstance(key, int):
            break
        named.append(key)
    reference = Reference(tuple(named), offset, guarded=False, presence=False)
    cel_names.check([reference], names)
    return _Path(source, reference, root, keys)


class _Path(Expression):
    """A root and the keys and indexes to follow from it."""

    __slots__ = ("_keys", "_root", "_step")

    def __init__(self, source: str, reference: Reference, root: str, keys: Sequence[str | int]) -> None:
        super().__init__(source, [reference])
        self._root = root
        self._step = str(keys[0]) if root == "steps" else ""
        self._keys = tuple(keys[1:] if root == "steps" else keys)

    def evaluate(self, lookup: Lookup) -> Value:
        value = lookup(self._root, self._step)
        for key in self._keys:
            value = _step_down(value, key)
        if value is MISSING:
            return cast(Value, self._inside(lookup))
        return format_timestamp(cast(int, value)) if self._root == "now" else cast(Value, value)

    def _inside(self, lookup: Lookup) -> object:
        """What there is inside of a sensitive value; raises `ExpressionError`."""
        if not isinstance(lookup, Unsealing):
            raise self._failure(lookup)
        value, sensitive = lookup(self._root, self._step), False
        for key in self._keys:
            if type(value) is Sealed:
                value, sensitive = reveal(value, lookup, self.source)
            value = _step_down(value, key)
        if sensitive and value is not MISSING:
            return Tainted(cast(Value, value))
        raise self._failure(lookup)

    def _failure(self, lookup: Lookup) -> ExpressionError:
        value = lookup(self._root, self._step)
        path = f"steps.{self._step}" if self._step else self._root
        for key in self._keys:
            if value is MISSING:
                break
            path += f"[{key}]" if isinstance(key, int) else f".{key}"
            if isinstance(value, Opaque):
                return _looks_inside(path, self.source)
            value = _step_down(value, key)
        return _no_value(path, self.source)


def _step_down(value: object, key: str | int) -> object:
    if isinstance(value, dict):
        return cast(dict[str | int, object], value).get(key, MISSING)
    if isinstance(value, list) and isinstance(key, int):
        items = cast(list[object], value)
        return items[key] if key < len(items) else MISSING
    return MISSING


# --- CEL ---------------------------------------------------------------------------------------------------------

# What CEL gets to see of a root: None for all of it, True for "it exists", else the parts by key.
_Needs: TypeAlias = dict[str, "_Need"]
_Need: TypeAlias = "_Needs | bool | None"


class _Program(NamedTuple):
    run: Callable[[dict[str, object]], Value]
    references: list[Reference]
    needs: tuple[tuple[str, _Need], ...]


@lru_cache(maxsize=PROGRAMS_MAX)
def _program(source: str, items: frozenset[str]) -> _Program:
    variables = ROOTS | items
    references = cel_names.find_plain(source, variables)
    try:
        if references is not None:
            program = cel_engine.compile_plain(source, variables)
        else:
            program, tree = cel_engine.compile_program(source, variables)
            references = cel_names.find(tree, variables)
    except cel_engine.CelCompileError as error:
        raise cel_names.explain(error, source, variables) from None
    needs: _Needs = {}
    for reference in sorted(references, key=lambda one: (len(one.path), one.presence)):
        _add_need(needs, reference)
    return _Program(program.run, references, tuple(needs.items()))


def _add_need(needs: _Needs, reference: Reference) -> None:
    for name in reference.path[:-1]:
        below = needs.setdefault(name, {})
        if below is True:
            below = needs[name] = {}
        if not isinstance(below, dict):
            return
        needs = below
    if reference.presence:
        needs.setdefault(reference.path[-1], True)
    else:
        needs[reference.path[-1]] = None


class _Cel(Expression):
    """Everything that is more than a path."""

    __slots__ = ("_needs", "_run")

    def __init__(self, source: str, program: _Program) -> None:
        super().__init__(source, program.references)
        self._run = program.run
        self._needs = program.needs

    def evaluate(self, lookup: Lookup) -> Value:
        data: dict[str, object] = {}
        for root, need in self._needs:
            if root == "steps" and isinstance(need, dict):
                data[root] = {step: self._step(lookup, step, parts) for step, parts in need.items()}
                continue
            value = lookup(root, "")
            if value is not MISSING:
                data[root] = to_datetime(cast(int, value)) if root == "now" else self._part(value, need, root)
        if isinstance(lookup, Unsealing):
            plain, sensitive = reveal(data, lookup, self.source)
            if sensitive:
                return cast(Value, self._tainted(plain))
        try:
            return self._run(data)
        except cel_engine.CelFailure as failure:
            raise self._failure(str(failure), data) from None

    def _tainted(self, data: dict[str, object]) -> object:
        try:
            return Tainted(self._run(data))
        except cel_engine.CelFailure:  # its text may quote the value
            message = f"`{self.source}` fails for a sensitive value; the reason is withheld"
            raise ExpressionError(message, self.source) from None

    def _step(self, lookup: Lookup, step: str, need: _Need) -> object:
        # `steps.<id>` is always bound; only what is in it may be absent.
        value = lookup("steps", step)
        return self._part({} if value is MISSING else value, need, f"steps.{step}")

    def _part(self, value: object, need: _Need, path: str) -> object:
        if isinstance(need, bool):
            return True
        if isinstance(value, Opaque):
            raise _looks_inside(path, self.source)
        if need is None or not isinstance(value, dict):
            return value
        members = cast(dict[str, object], value)
        return {key: self._part(members[key], need[key], f"{path}.{key}") for key in need if key in members}

    def _failure(self, text: str, data: dict[str, object]) -> ExpressionError:
        match = re.match(r'Key not found in map : "(.*)"|No value with name "(.*)" found', text)
        if match is not None:
            key = match[1] or match[2]
            return _no_value(self._first_missing(key, data) or key, self.source)
        if text.startswith("Non-CEL value type"):
            return ExpressionError(_INSIDE_OPAQUE, self.source)
        if text.startswith("Iteration budget"):
            return ExpressionError("the macros of the expression go through too many items in all", self.source)
        return ExpressionError(cel_names.readable(text), self.source, cel_names.hint_for(text))

    def _first_missing(self, key: str, data: dict[str, object]) -> str:
        for path in self.references:
            value: object = data
            for depth, name in enumerate(path):
                value = _step_down(value, name)
                if value is MISSING:
                    if name == key:
                        return ".".join(path[: depth + 1])
                    break
        return ""


_INSIDE_OPAQUE: Final = "a payload that is not JSON cannot be looked into; it can only be passed on whole"


def _looks_inside(path: str, source: str) -> ExpressionError:
    return ExpressionError(f"`{path}`: {_INSIDE_OPAQUE}", source)


def _no_value(path: str, source: str) -> ExpressionError:
    hint = f"has({path}) or .? guards against it" if "." in path and not path.endswith("]") else ""
    if re.fullmatch(r"steps\.\w+\.result", path):
        return ExpressionError(f"`{path}` has no value: the step has not succeeded", source, hint)
    return ExpressionError(f"`{path}` has no value", source, hint)

"""What the names in an expression mean: which values it refers to, and whether those can exist where it stands."""

import re
from collections.abc import Iterable, Set
from difflib import get_close_matches
from typing import Final, NamedTuple, Protocol

from . import cel_tree as tree
from .cel_engine import CelCompileError


class Reference(NamedTuple):
    """A place in an expression that names a value by a path."""

    path: tuple[str, ...]
    offset: int
    """Of the root's name in the source, in characters from 0."""
    guarded: bool
    """It stands under `has()`, `.?` or a condition, so its absence is provided for."""
    presence: bool
    """`has(path)`: only whether it exists is asked."""


class NameProblem(Exception):
    """An expression that can never work at its place."""

    def __init__(self, message: str, offset: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        """In characters from 0."""
        self.hint = hint


class KnownNames(Protocol):
    """The part of `expressions.Names` that is asked here."""

    @property
    def roots(self) -> frozenset[str]: ...
    @property
    def steps(self) -> frozenset[str]: ...
    @property
    def hidden_steps(self) -> frozenset[str]: ...
    @property
    def items(self) -> frozenset[str]: ...


# --- find --------------------------------------------------------------------------------------------------------


def find(parsed: tree.Tree, roots: Set[str]) -> list[Reference]:
    """Every reference of the expression, the longest path at each place."""
    finder = _Finder(parsed.positions, roots)
    finder.walk(parsed.root, frozenset(), guarded=False)
    return finder.found


# Paths, literals and operators between them, with nothing that calls, indexes, loops or chooses.
_PLAIN_OPERAND: Final = r"""(?:[A-Za-z_]\w*+(?:\.[A-Za-z_]\w*+)*+|\d++(?:\.\d++)?+|"[^"\\\n]*+"|'[^'\\\n]*+')"""
_PLAIN_TERM: Final = rf"[\s(!-]*+{_PLAIN_OPERAND}[\s)]*+"
_PLAIN: Final = re.compile(rf"{_PLAIN_TERM}(?:(?:[=!<>]=|&&|\|\||[-+*/%<>]){_PLAIN_TERM})*+", re.ASCII)
_PLAIN_NAME: Final = re.compile(r""""[^"]*"|'[^']*'|([A-Za-z_][\w.]*)""", re.ASCII)
_PLAIN_LITERALS: Final = frozenset(("true", "false", "null"))


def find_plain(source: str, roots: Set[str]) -> list[Reference] | None:
    """What `find` gives for a source that compiles, where the text alone tells it, which is much faster; else None."""
    if _PLAIN.fullmatch(source) is None:
        return None
    found: list[Reference] = []
    for match in _PLAIN_NAME.finditer(source):
        if not match[1]:
            continue
        path = tuple(match[1].split("."))
        if path[0] in roots:
            found.append(Reference(path, match.start(), guarded=False, presence=False))
        elif path[0] not in _PLAIN_LITERALS:
            return None
    return found


class _Chain(NamedTuple):
    """A root followed by constant keys. `optional_at` is the depth of the first `.?`, or past the end."""

    path: tuple[str, ...]
    offset: int
    optional_at: int


_NEVER: Final = 1_000
_INDEXING: Final = frozenset(("_[_]", "_?._", "_[?_]"))
_STEP_PART_DEPTH: Final = 2  # steps.<id>.result: what may be absent stands at this depth


class _Finder:
    def __init__(self, positions: dict[int, int], roots: Set[str]) -> None:
        self._positions = positions
        self._roots = roots
        self.found: list[Reference] = []

    def walk(self, node: tree.Node, shadowed: frozenset[str], guarded: bool) -> None:
        """Collect references; `shadowed` are the variables of the macros around the node."""
        tested = node.kind == tree.SELECT and bool(node.number(tree.SELECT_TEST_ONLY))
        chain = self._chain(node, shadowed)
        if chain is not None:
            absence_expected = chain.optional_at <= _STEP_PART_DEPTH or (tested and len(chain.path) == 3)
            self.found.append(Reference(chain.path, chain.offset, guarded or absence_expected, tested))
        elif node.kind == tree.COMPREHENSION:
            self._walk_loop(node, shadowed, guarded)
        elif node.kind == tree.CALL and node.text(tree.CALL_FUNCTION) == "_?_:_":
            condition, *branches = node.children()
            self.walk(condition, shadowed, guarded)
            self._walk_all(branches, shadowed, True)
        elif node.kind == tree.CALL and node.text(tree.CALL_FUNCTION) in ("_&&_", "_||_"):
            self._walk_all(node.children(), shadowed, guarded or _tests_a_step(node))
        else:
            self._walk_all(node.children(), shadowed, guarded)

    def _walk_all(self, nodes: Iterable[tree.Node], shadowed: frozenset[str], guarded: bool) -> None:
        for node in nodes:
            self.walk(node, shadowed, guarded)

    def _walk_loop(self, node: tree.Node, shadowed: frozenset[str], guarded: bool) -> None:
        outside = [*node.children(tree.LOOP_RANGE), *node.children(tree.LOOP_START)]
        self._walk_all(outside, shadowed, guarded)
        names = (tree.LOOP_VARIABLE, tree.LOOP_VARIABLE_2, tree.LOOP_ACCUMULATOR)
        inside = shadowed | {node.text(field) for field in names}
        for field in (tree.LOOP_CONDITION, tree.LOOP_STEP):
            self._walk_all(node.children(field), inside, guarded)
        with_result = shadowed | {node.text(tree.LOOP_ACCUMULATOR)}
        self._walk_all(node.children(tree.LOOP_RESULT), with_result, guarded)

    def _chain(self, node: tree.Node, shadowed: frozenset[str]) -> _Chain | None:
        if node.kind == tree.IDENT:
            written = node.text(tree.IDENT_NAME)
            name = written.lstrip(".")
            if name not in self._roots or written in shadowed:
                return None
            return _Chain((name,), self._positions.get(node.id, 0), _NEVER)
        operand, key, optional = _selection(node)
        if operand is None or key is None:
            return None
        chain = self._chain(operand, shadowed)
        if chain is None:
            return None
        optional_at = min(chain.optional_at, len(chain.path)) if optional else chain.optional_at
        return _Chain((*chain.path, key), chain.offset, optional_at)


def _selection(node: tree.Node) -> tuple[tree.Node | None, str | None, bool]:
    """The operand, the constant key, and whether it is selected optionally; None for anything else."""
    if node.kind == tree.SELECT:
        return node.child(tree.SELECT_OPERAND), node.text(tree.SELECT_FIELD), False
    if node.kind != tree.CALL or node.text(tree.CALL_FUNCTION) not in _INDEXING:
        return None, None, False
    operand, index = node.children(tree.CALL_ARGS)
    is_text = any(number == tree.CONSTANT_STRING for number, _, _ in index.fields)
    if index.kind != tree.CONSTANT or not is_text:
        return None, None, False
    return operand, index.text(tree.CONSTANT_STRING), node.text(tree.CALL_FUNCTION) != "_[_]"


def _tests_a_step(node: tree.Node) -> bool:
    return any(
        below.kind == tree.SELECT and bool(below.number(tree.SELECT_TEST_ONLY)) for below in tree.all_nodes(node)
    )


# --- check -------------------------------------------------------------------------------------------------------

_STEP_FIELDS: Final = frozenset(("result", "error", "failures"))
_ROOT_FIELDS: Final = {
    "attempt": frozenset(("number", "value", "history")),
    "trigger": frozenset(("id", "slot", "slot_local")),
    "execution": frozenset(("id", "started_at", "definition", "version")),
}


def check(references: Iterable[Reference], names: KnownNames) -> None:
    """Raise `NameProblem` for the first reference that cannot exist."""
    for reference in references:
        root, *rest = reference.path
        if root not in names.roots and root not in names.items:
            raise NameProblem(f"`{root}` is unknown here", reference.offset, closest(root, names.roots | names.items))
        if root == "steps":
            _check_step(reference, rest, names)
        fields = _ROOT_FIELDS.get(root)
        if fields and rest and rest[0] not in fields and root not in names.items:
            known = ", ".join(sorted(fields))
            raise NameProblem(f"`{root}` has no field `{rest[0]}`, only {known}", reference.offset)


def _check_step(reference: Reference, rest: list[str], names: KnownNames) -> None:
    if not rest:
        hint = "write steps.<id>.result with the id of the step; the id cannot be computed"
        raise NameProblem("`steps` needs the id of a step", reference.offset, hint)
    step = rest[0]
    if step in names.hidden_steps and step not in names.steps:
        message = f"the step `{step}` is inside of a foreach or loop and cannot be seen from outside"
        raise NameProblem(message, reference.offset, "name the foreach or loop: its result holds what they did")
    if step not in names.steps:
        raise NameProblem(f"there is no step `{step}` to refer to", reference.offset, closest(step, names.steps))
    if len(rest) > 1 and rest[1] not in _STEP_FIELDS:
        message = f"a step has `result`, `error` and `failures`, but no `{rest[1]}`"
        raise NameProblem(message, reference.offset, f"write steps.{step}.result.{rest[1]}")


def closest(name: str, known: Iterable[str]) -> str:
    """A hint that names the known word most like `name`, or nothing."""
    found = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{found[0]}`?" if found else ""


# --- messages ----------------------------------------------------------------------------------------------------

# fmt: off
_FUNCTIONS: Final = frozenset([
    "add_months", "all", "bool", "bytes", "ceil", "charAt", "contains", "double", "duration", "dyn", "endsWith",
    "exists", "exists_one", "filter", "first", "floor", "format", "getDate", "getDayOfMonth", "getDayOfWeek",
    "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds", "greatest",
    "has", "hasValue", "indexOf", "int", "join", "last", "lastIndexOf", "least", "lowerAscii", "map", "matches",
    "none", "of", "ofNonZeroValue", "optFlatMap", "optMap", "or", "orValue", "quote", "replace", "reverse", "round",
    "size", "split", "startsWith", "string", "substring", "timestamp", "trim", "trunc", "type", "uint", "upperAscii",
    "value",
])
# fmt: on
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_CHECKED_OPERATOR: Final = re.compile(r"found no matching overload for '([^']*)' applied to '\((.*)\)'")
_FAILED_OPERATOR: Final = re.compile(r"No matching overloads found : (\S+?)\((.*)\)")
_EXPECTATION: Final = re.compile(r" expecting \{.*\}$")
_NUMBER_KINDS: Final = ({"int", "double"}, {"int64", "double"})


def explain(error: CelCompileError, source: str, roots: Set[str]) -> NameProblem:
    """The library's refusal in the words of the definition language, located in `source`."""
    lines = source.split("\n")
    offset = sum(len(line) + 1 for line in lines[: error.line - 1]) + error.column - 1
    match = _UNDECLARED.match(error.message)
    if match is None:
        return NameProblem(readable(error.message), offset, hint_for(error.message))
    name: str = match[1]
    if source[offset : offset + 1] == "(":
        start = max(source.rfind(name, 0, offset), 0)
        return NameProblem(f"there is no function `{name}`", start, closest(name, _FUNCTIONS))
    root = name.partition(".")[0]
    start = max(source.rfind(root, 0, offset + len(root)), 0)
    return NameProblem(f"`{root}` is unknown here", start, closest(root, roots))


def readable(text: str) -> str:
    """A message of the library with operators as people write them and without its internals."""
    match = _CHECKED_OPERATOR.match(text) or _FAILED_OPERATOR.match(text)
    if match is None:
        if "recursion" in text:
            return "the expression is nested too deep, or has too many operators in a row (32)"
        return _EXPECTATION.sub("", text.replace(" (in container '')", ""))
    operator = match[1].replace("_", "") if match[1][:1] in "_-!" else match[1].removeprefix("@")
    kinds = match[2].replace("int64", "int").replace("google.protobuf.", "")
    return f"`{operator}` does not work on ({kinds})"


def hint_for(text: str) -> str:
    match = _CHECKED_OPERATOR.match(text) or _FAILED_OPERATOR.match(text)
    if match is None:
        return ""
    kinds = set(match[2].split(", "))
    if kinds in _NUMBER_KINDS:
        return "CEL does not mix int and double: write double(x) * 1.2, or int(x)"
    if {"string"} < kinds and any("imestamp" in kind for kind in kinds):
        return "times in data are strings: timestamp(x) converts"
    if "string" in kinds:
        return "string(x) makes a text of a value"
    return ""

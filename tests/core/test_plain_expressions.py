"""References that are read from the text alone: exactly those that the syntax tree has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.core import cel_engine, cel_names, cel_tree
from callboard.runtime.core.expressions import ROOTS

VARIABLES = ROOTS | {"line", "r", "b"}

PATHS = ["input", "input.a.b", "steps.s1.result.n", "line.in2", "r", "b.r", "index", "now", "input.of", "vars.const"]
LITERALS = ["1", "2.5", "0", "true", "false", "null", "''", '"x"', "'input.a'", '"it\'s é😀"', "'${'", '"//"']
BINARY = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||"]
OPERATORS = {f"_{operator}_" for operator in BINARY} | {"-_", "!_"}
UNARY = ["-", "!", "--", "!!", "- ", "! "]
SPACES = ["", "", " ", "\n", "\t  "]
JUNK = [
    *(
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        ".",
        ",",
        ":",
        "?",
        ".?",
        "[?",
        "`",
        '"',
        "'",
        '"""',
        "\\",
        "//",
        "@",
        "=",
        "&",
        "é",
    ),
    *("has(", "size(", "r'", 'b"', "1e5", "0x1F", "1u", ".5", "in", "in ", ".input", "int", "x", "a.b", "google.x"),
    *("input.lines.map(x, x)", "optional.of(input)", ".replace('a', 'b')", "true.x", "math.pi", "type", "dyn"),
]

leaves = st.sampled_from(PATHS) | st.sampled_from(LITERALS)
spaces = st.sampled_from(SPACES)
sources = st.recursive(
    leaves,
    lambda below: (
        st.tuples(below, spaces, st.sampled_from(BINARY), spaces, below).map("".join)
        | st.tuples(st.sampled_from(UNARY), below).map("".join)
        | st.tuples(spaces, st.just("("), spaces, below, spaces, st.just(")")).map("".join)
    ),
    max_leaves=12,
)
pieces = st.lists(st.sampled_from([*PATHS, *LITERALS, *BINARY, *UNARY, *SPACES, *JUNK]), min_size=1, max_size=7)


def check_against_the_tree(source: str, plain: list[cel_names.Reference]) -> None:
    """What the text tells is what the tree has, and the tree needs no care."""
    try:
        tree = cel_engine.compile_program(source, VARIABLES)[1]
    except cel_engine.CelCompileError:
        return
    assert plain == cel_names.find(tree, VARIABLES)
    for node in cel_tree.all_nodes(tree.root):
        assert node.kind in (cel_tree.CONSTANT, cel_tree.IDENT, cel_tree.SELECT, cel_tree.CALL)
        assert node.kind != cel_tree.CALL or node.text(cel_tree.CALL_FUNCTION) in OPERATORS


@given(sources)
def test_the_text_tells_the_references_that_the_tree_has(source: str) -> None:
    plain = cel_names.find_plain(source, VARIABLES)
    assert plain is not None
    check_against_the_tree(source, plain)


@given(sources, pieces, st.integers(0, 60))
def test_whatever_else_is_put_in_is_seen_or_left_to_the_tree(source: str, put_in: list[str], at: int) -> None:
    changed = source[:at] + "".join(put_in) + source[at:]
    plain = cel_names.find_plain(changed, VARIABLES)
    if plain is not None:
        check_against_the_tree(changed, plain)


@pytest.mark.parametrize(
    "source",
    [
        "steps.s1.result.n + 1",
        "event.n > 3",
        "event.kind == 'order' && !(input.total * 2 >= -vars.limit)",
        "(\n input.a\n) && (\n input.b != null\n)\n",
        "'${' + input.name + \"it's\"",
    ],
)
def test_common_expressions_need_no_tree(source: str) -> None:
    assert cel_names.find_plain(source, VARIABLES)


@pytest.mark.parametrize(
    "source",
    [
        *("size(input.a)", "input.a.size()", "input.a[0] + 1", "input['a'] + 1", "input.?a + 1", "input.a ? 1 : 2"),
        *("1 in input.a", "[input.a]", "{'a': input.a}", "has(input.a)", ".input + 1", "input.`a` + 1", "(input).a"),
        *("r'a' + input.b", '"""a""" + input.b', "'\\'' + input.a", "input . a", "1 // input.a", "1u + input.a"),
        *("unknown + 1", "int == input.a", "input.é", "input.a +", "", "input input", "'a' 'b'"),
    ],
)
def test_everything_else_is_left_to_the_tree(source: str) -> None:
    assert cel_names.find_plain(source, VARIABLES) is None


def test_a_long_text_that_is_nearly_plain_is_judged_at_once() -> None:
    assert cel_names.find_plain("(" * 5_000 + "input.a" * 700 + "?", VARIABLES) is None
    assert cel_names.find_plain("input.a + " * 1_000 + "?", VARIABLES) is None

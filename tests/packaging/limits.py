"""The README's table of defaults and limits, made from the settings themselves: `python -m tests.packaging.limits`."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import msgspec

from callboard.runtime.core.nodes import DefinitionLimits
from callboard.runtime.core.turn import Limits
from callboard.runtime.settings import Settings
from callboard.runtime.tasks import DispatcherSettings

README = Path(__file__).resolve().parents[2] / "README.md"
BEGIN = "<!-- limits: made by `python -m tests.packaging.limits`, held by a test -->\n"
END = "<!-- end of limits -->"


def descriptions(kind: type) -> dict[str, str]:
    """What stands below each field of a settings class, on one line."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            told = text.value if isinstance(text, ast.Expr) else None
            words = told.value if isinstance(told, ast.Constant) and isinstance(told.value, str) else ""
            found[field.target.id] = " ".join(words.split())
    return found


def table() -> str:
    """The table, one row a setting."""
    rows = ["| name | default | what |", "|---|---|---|"]
    for kind in (Settings, Limits, DispatcherSettings, DefinitionLimits):
        defaults = kind()
        told = descriptions(kind)
        for name in told:
            value = getattr(defaults, name)
            if not isinstance(value, msgspec.Struct):
                rows.append(f"| `{name}` | {value:,} | {told[name].replace('|', '/')} |")
    return "\n".join(rows) + "\n"


def with_table(readme: str) -> str:
    """The README's text with the table as it should be."""
    before, rest = readme.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))

"""Expressions of the definition language: everything the rest of the engine may use of them.

Behind this interface stand `compiled` (paths and CEL), `templates` (values with `${...}` in them), `cel_names` (what
may be named where) and `cel_engine` (the CEL library); nothing else imports those.
"""

from .cel_engine import EXPRESSION_ITEMS_MAX, EXPRESSION_TEXT_CHARS_MAX
from .compiled import (
    EXPRESSION_CHARS_MAX,
    MISSING,
    PROGRAMS_MAX,
    RESERVED_WORDS,
    ROOTS,
    Expression,
    ExpressionError,
    ExpressionSyntaxError,
    Lookup,
    Names,
    compile_expression,
    evaluate_bool,
)
from .templates import Template, TemplateSyntaxError, compile_template

__all__ = [
    "EXPRESSION_CHARS_MAX",
    "EXPRESSION_ITEMS_MAX",
    "EXPRESSION_TEXT_CHARS_MAX",
    "MISSING",
    "PROGRAMS_MAX",
    "RESERVED_WORDS",
    "ROOTS",
    "Expression",
    "ExpressionError",
    "ExpressionSyntaxError",
    "Lookup",
    "Names",
    "Template",
    "TemplateSyntaxError",
    "compile_expression",
    "compile_template",
    "evaluate_bool",
]

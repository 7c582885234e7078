"""Listing executions: the filter language and the page tokens.

A filter is the part of CEL that an index or one comparison a row can answer: conditions joined by `&&`, each of them
`field == "value"`, `status in ["A", "B"]`, a comparison of a time, `incident` or `!incident`. Everything else is
refused with the place where it begins, never half understood.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple, NoReturn

import msgspec

from .core.refusals import Kind, Refusal, Refused, Violation
from .core.state import Status
from .rows import ExecutionQuery

FILTER_CHARACTERS_MAX = 4096

_SUPPORTED = (
    "supported are conditions joined by &&: status, state, definition_id == a string; status in [...]; "
    'version == a number; labels.name or labels["name"] == a string; incident, !incident; '
    'started_at and updated_at with <, <=, >, >= timestamp("...")'
)
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<number>\d+)(?![\w.])
    | (?P<name>[A-Za-z_]\w*)
    | (?P<symbol>&&|==|!=|<=|>=|[<>!.,()\[\]])
    | (?P<end>$)
    )""",
    re.VERBOSE,
)
_VERSION_MAX = 2**31 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = {"started_at": "started", "updated_at": "updated"}
_FIELDS = frozenset({"status", "state", "definition_id", "version", "labels", "incident", *_TIMES})
_FLIPPED = {"==": "==", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


class _Token(NamedTuple):
    kind: str
    text: str
    column: int
    """From 1."""


def parse_filter(text: str, tenant: str) -> ExecutionQuery:
    """The query that a filter means; an empty filter means everything. Raises Refused with INVALID_FILTER."""
    if len(text) > FILTER_CHARACTERS_MAX:
        _refuse(f"the filter is longer than {FILTER_CHARACTERS_MAX} characters", FILTER_CHARACTERS_MAX + 1)
    return _Parser(text, tenant).parse()


class _Parser:
    """One pass, left to right: the grammar has no precedence to care for."""

    def __init__(self, text: str, tenant: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._query = ExecutionQuery(tenant)

    def parse(self) -> ExecutionQuery:
        if self._peek().kind == "end":
            return self._query
        self._condition()
        while self._peek().kind != "end":
            self._symbol("&&")
            self._condition()
        return self._query

    def _condition(self) -> None:
        token = self._next()
        if token.text == "!":
            self._named(self._next("name"), "incident")
            self._set(token, "incident", False)
            return
        if token.kind == "string" or token.kind == "number" or token.text == "timestamp":
            self._at -= 1
            self._mirrored()
            return
        if token.kind != "name":
            _refuse(f"a condition cannot begin with {token.text!r}", token.column)
        field = _known(token)
        label = self._label() if field.text == "labels" else ""
        if field.text == "incident" and self._peek().text != "==":
            self._set(field, "incident", True)
            return
        self._compare(field, label, self._next())

    def _mirrored(self) -> None:
        """`"A" == status` is `status == "A"`."""
        start = self._at
        self._value()
        operator, field = self._next(), _known(self._next("name"))
        if operator.text not in _FLIPPED:
            _refuse(f"{operator.text!r} is not a comparison", operator.column)
        label = self._label() if field.text == "labels" else ""
        end, self._at = self._at, start
        self._compare(field, label, operator._replace(text=_FLIPPED[operator.text]))
        self._at = end

    def _label(self) -> str:
        if self._peek().text == ".":
            self._next()
            return self._next("name").text
        self._symbol("[")
        label = _unquote(self._next("string"))
        self._symbol("]")
        return label

    def _compare(self, field: _Token, label: str, operator: _Token) -> None:
        if field.text in _TIMES:
            self._time(field, operator)
        elif field.text == "status" and operator.text == "in":
            self._statuses(field)
        elif operator.text != "==":
            _refuse(f"{field.text} cannot be compared by {operator.text!r}", operator.column)
        elif field.text == "labels":
            value = _unquote(self._next("string"))
            self._query = msgspec.structs.replace(self._query, labels=(*self._query.labels, (label, value)))
        elif field.text == "status":
            self._set(field, "statuses", (_status(self._next("string")),))
        elif field.text == "state":
            self._set(field, "state", _unquote(self._next("string")))
        elif field.text == "definition_id":
            named = self._next("string")
            self._set(field, "definition_id", _unquote(named) or _refuse("no definition has an empty id", named.column))
        elif field.text == "version":
            self._version(field)
        else:
            self._incident(field)

    def _version(self, field: _Token) -> None:
        number = self._next("number")
        if not 0 < int(number.text[:20]) <= _VERSION_MAX:
            _refuse(f"a version is a number from 1 to {_VERSION_MAX}", number.column)
        self._set(field, "version", int(number.text))

    def _incident(self, field: _Token) -> None:
        value = self._next("name")
        if value.text not in ("true", "false"):
            _refuse("incident is true or false", value.column)
        self._set(field, "incident", value.text == "true")

    def _statuses(self, field: _Token) -> None:
        self._symbol("[")
        found = [_status(self._next("string"))]
        while self._peek().text == ",":
            self._next()
            found.append(_status(self._next("string")))
        self._symbol("]")
        self._set(field, "statuses", tuple(dict.fromkeys(found)))

    def _time(self, field: _Token, operator: _Token) -> None:
        if operator.text not in ("<", "<=", ">", ">="):
            _refuse(f"{field.text} is compared by <, <=, > or >=", operator.column)
        moment = self._timestamp()
        # The query's bounds are exclusive and times are whole microseconds.
        if operator.text == ">=":
            moment -= 1
        elif operator.text == "<=":
            moment += 1
        side = "after" if operator.text[0] == ">" else "before"
        self._set(field, f"{_TIMES[field.text]}_{side}", moment)

    def _timestamp(self) -> int:
        self._named(self._next("name"), "timestamp")
        self._symbol("(")
        token = self._next("string")
        self._symbol(")")
        try:
            moment = datetime.fromisoformat(_unquote(token))
        except ValueError:
            _refuse(f"{token.text} is not an RFC 3339 time", token.column)
        if moment.tzinfo is None:
            _refuse(f"{token.text} has no time zone; add Z or an offset", token.column)
        return (moment - _EPOCH) // timedelta(microseconds=1)

    def _value(self) -> None:
        if self._peek().text == "timestamp":
            self._timestamp()
        else:
            self._next()

    def _set(self, field: _Token, name: str, value: object) -> None:
        """Each condition once: two that must both hold are either the same or a contradiction."""
        if getattr(self._query, name) != getattr(_EVERYTHING, name):
            _refuse(f"there are two conditions on {field.text}", field.column)
        self._query = msgspec.structs.replace(self._query, **{name: value})

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self, kind: str = "") -> _Token:
        token = self._tokens[self._at]
        if token.kind == "end":
            _refuse("the filter ends in the middle of a condition", token.column)
        if kind and token.kind != kind:
            _refuse(f"expected a {kind}, found {token.text!r}", token.column)
        self._at += 1
        return token

    def _symbol(self, text: str) -> None:
        token = self._next()
        if token.text != text or token.kind != "symbol":
            _refuse(f"expected {text!r}, found {token.text!r}", token.column)

    def _named(self, token: _Token, name: str) -> None:
        if token.text != name:
            _refuse(f"expected {name}, found {token.text!r}", token.column)


_EVERYTHING = ExecutionQuery("")


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(text, position)
        if match is None:
            gap = len(text[position:]) - len(text[position:].lstrip())
            _refuse(f"{text[position + gap]!r} is not understood here", position + gap + 1)
        kind = match.lastgroup or "end"
        found.append(_Token(kind, match.group(kind), match.start(kind) + 1))
        position = match.end()
    return found


def _unquote(token: _Token) -> str:
    inner = token.text[1:-1]
    if token.text[0] == "'":
        inner = inner.replace('\\"', '"').replace('"', '\\"').replace("\\'", "'")
    try:
        value: str = json.loads(f'"{inner}"')
    except ValueError:
        _refuse(f"{token.text} is not a string", token.column)
    if any("\ud800" <= character <= "\udfff" for character in value):
        _refuse(f"{token.text} is not Unicode text", token.column)
    return value


def _known(field: _Token) -> _Token:
    if field.text not in _FIELDS:
        _refuse(f"there is no field {field.text!r} to filter by", field.column)
    return field


def _status(token: _Token) -> str:
    name = _unquote(token)
    if name not in Status.__members__:
        _refuse(f"there is no status {name!r}; there are {', '.join(Status.__members__)}", token.column)
    return name


def _refuse(message: str, column: int) -> NoReturn:
    raise Refused(
        Refusal(
            Kind.INVALID,
            "INVALID_FILTER",
            f"filter, column {column}: {message}; {_SUPPORTED}",
            violations=(Violation("filter", message, "INVALID_FILTER", column=column),),
        )
    )


# -- page tokens -----------------------------------------------------------------------------------------------

_SEAL_BYTES = 16


class PageTokens:
    """Opaque page tokens, authenticated by the store's secret: bound to one tenant and one question."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, scope: str, cursor: str) -> str:
        """A token for what follows `cursor`; `scope` says all that the next request must have in common."""
        body = cursor.encode()
        return base64.urlsafe_b64encode(self._seal(scope, body) + body).decode("ascii").rstrip("=")

    def read(self, scope: str, token: str) -> str:
        """The cursor in a token; empty for no token. Raises Refused with INVALID_PAGE_TOKEN."""
        if not token:
            return ""
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        seal, body = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(scope, body)):
            raise Refused(
                Refusal(
                    Kind.INVALID,
                    "INVALID_PAGE_TOKEN",
                    "the page token is not of this request; send the first request again without a token",
                    violations=(Violation("page_token", "not a token of this request", "INVALID_PAGE_TOKEN"),),
                )
            )
        return body.decode()

    def number(self, scope: str, token: str) -> int:
        """The cursor as a number; 0 for no token."""
        return int(self.read(scope, token) or "0")

    def _seal(self, scope: str, body: bytes) -> bytes:
        question = scope.encode()
        message = len(question).to_bytes(4, "big") + question + body
        return hmac.digest(self._secret, message, "sha256")[:_SEAL_BYTES]


def scope_of(method: str, tenant: str, *conditions: str | int) -> str:
    """The scope of a page token: the method, the tenant and every condition of the question but its page size."""
    said = json.dumps([method, tenant, *conditions])
    return sha256(said.encode("utf-8", "surrogatepass")).hexdigest()

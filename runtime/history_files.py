"""The form in which one execution is carried elsewhere: JSON Lines, its history as CloudEvents 1.0.

    {"format":"callboard.execution/1","store_id":"...","tenant":"acme","execution_id":"o-1","definition_id":"order",...}
    {"specversion":"1.0","id":"o-1/1","source":"/tenants/acme/executions/o-1","type":"callboard.v1.ExecutionStarted",...}
    {"events":1,"checksum":"9f86..."}

The first line says what it is of, with its head and the content of its definition. Then comes one line an event:
`subject` is the execution, `data` the stored fields as they are, and the extension attributes hold the rest of what the
hash covers: `tenant`, `sequence`, `tostate`, `callerid` (the caller's event id), `cause` (who asked, as JSON), with
`hash`; `definitionid` and `definitionversion` are for readers. The last line has the SHA-256 of all bytes before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol, cast

import msgspec

from .batch import not_found
from .core.durations import format_timestamp, parse_timestamp
from .core.forking import open_tasks
from .core.history import event_hash
from .core.refusals import Kind, Refusal, Refused, Violation
from .core.state import State
from .core.values import INT64_MAX, INT64_MIN, JSON_DEPTH_MAX
from .lifecycle_rows import DefinitionVersion
from .replay import PAGE_BYTES, PAGE_EVENTS, HistoryDamagedError, apply, take_snapshot
from .rows import ExecutionRecord, ExecutionRef, Snapshot, StoredEvent

FORMAT: Final = "callboard.execution/1"
PIECE_BYTES: Final = 1024 * 1024
"""Bytes of one piece of an export, about."""
_TYPE: Final = "callboard.v1."
_NULL: Final = b"null"
_STATE_DEPTH_MAX: Final = JSON_DEPTH_MAX + 16
_PRUNED_AFTER: Final = 1_000
_WITH_INPUT: Final = frozenset({"StepScheduled", "StepInherited"})


class HistoryHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: str
    store_id: str
    """Of the store that it was written from."""
    tenant: str
    execution_id: str
    definition_id: str
    version: int
    fingerprint: str
    """SHA-256 of the definition's content, in hexadecimal; empty: it was not stored any more."""
    definition: msgspec.Raw
    """The content, in its canonical spelling; null: it was not stored any more."""
    sequence: int
    """Of the last event."""
    hash: str
    """Of the last event, in hexadecimal."""
    exported_at: str


class HistoryLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One event, as a CloudEvent."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    tenant: str
    definitionid: str
    definitionversion: int
    sequence: int
    hash: str
    data: msgspec.Raw
    tostate: str | None = None
    callerid: str | None = None
    cause: str | None = None


class _Trailer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line."""

    events: int
    checksum: str


class ExportSource(Protocol):
    """What an export reads (part of the Store port)."""

    async def execution(self, ref: ExecutionRef) -> ExecutionRecord | None:
        """The stored execution, or None."""
        ...

    async def stored_events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """Events as they are stored."""
        ...

    async def definition_version(self, tenant: str, definition_id: str, version: int) -> DefinitionVersion | None:
        """One version, or None."""
        ...


# Writing


async def export(source: ExportSource, store_id: str, ref: ExecutionRef, at: int) -> AsyncIterator[bytes]:
    """The export of an execution up to its last event, in pieces of about `PIECE_BYTES`. Raises Refused
    EXECUTION_NOT_FOUND, before the first piece unless it is deleted meanwhile."""
    record = await source.execution(ref)
    if record is None:
        raise Refused(not_found(ref))
    header = await _header(source, store_id, record, at)
    digest, last, after = hashlib.sha256(), record.head.sequence, 0
    piece = bytearray(msgspec.json.encode(header) + b"\n")
    while after < last:
        page = await source.stored_events(record.key, after, min(PAGE_EVENTS, last - after), PAGE_BYTES)
        if not page:
            raise Refused(not_found(ref))
        for stored in page:
            piece += _written(header, stored)
            while len(piece) >= PIECE_BYTES:
                whole = bytes(piece[:PIECE_BYTES])
                del piece[:PIECE_BYTES]
                digest.update(whole)
                yield whole
        after = page[-1].sequence
    digest.update(piece)
    yield bytes(piece) + msgspec.json.encode(_Trailer(last, digest.hexdigest())) + b"\n"


async def _header(source: ExportSource, store_id: str, record: ExecutionRecord, at: int) -> HistoryHeader:
    ref, head = record.ref, record.head
    stored = await source.definition_version(ref.tenant, head.definition_id, head.version)
    return HistoryHeader(
        FORMAT,
        store_id,
        ref.tenant,
        ref.execution_id,
        head.definition_id,
        head.version,
        "" if stored is None else stored.fingerprint.hex(),
        msgspec.Raw(_NULL if stored is None else stored.content),
        head.sequence,
        head.hash.hex(),
        format_timestamp(at),
    )


def _written(header: HistoryHeader, stored: StoredEvent) -> bytes:
    """A line. Raises Refused HISTORY_DAMAGED where the row holds what is no event; a wrong hash is the reader's to
    find."""
    try:
        return msgspec.json.encode(_line_of(header, stored)) + b"\n"
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        message = f"event {stored.sequence} cannot be written: {error}; verify says more"
        raise Refused(Refusal(Kind.INTERNAL, "HISTORY_DAMAGED", message, {"sequence": str(stored.sequence)})) from error


def _line_of(header: HistoryHeader, stored: StoredEvent) -> HistoryLine:
    return HistoryLine(
        specversion="1.0",
        id=stored.event_id or f"{header.execution_id}/{stored.sequence}",
        source=f"/tenants/{header.tenant}/executions/{header.execution_id}",
        type=_TYPE + stored.name,
        subject=header.execution_id,
        time=format_timestamp(stored.created_at),
        datacontenttype="application/json",
        tenant=header.tenant,
        definitionid=header.definition_id,
        definitionversion=header.version,
        sequence=stored.sequence,
        hash=stored.hash.hex(),
        data=msgspec.Raw(stored.payload),
        tostate=stored.to_state,
        callerid=stored.event_id,
        cause=None if stored.context is None else stored.context.decode(errors="replace"),
    )


# Reading


class Brought(msgspec.Struct, frozen=True):
    """An export that was read to its end and holds."""

    header: HistoryHeader
    snapshot: Snapshot
    """The state after its last event."""
    ended: bool
    payloads: dict[str, bytes]
    """By path: of each open task, the event with its input."""
    checksum: str


class HistoryReader:
    """Takes an export piece by piece and checks each line: it holds one state and one line, whatever the length."""

    def __init__(self, line_bytes_max: int) -> None:
        self._line_bytes_max = line_bytes_max
        self._parts: list[bytes] = []
        self._size = 0
        self._number = 0
        self._digest = hashlib.sha256()
        self._header: HistoryHeader | None = None
        self._state = State()
        self._payloads: dict[str, bytes] = {}
        self._trailer: _Trailer | None = None

    def feed(self, data: bytes) -> None:
        """The next piece. Raises Refused: INVALID_EXPORT with the line, LIMIT_EXCEEDED."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._keep(data[start:end])
            self._end_line()
            start = end + 1
        self._keep(data[start:])

    def finish(self) -> Brought:
        """There is no more. Raises Refused INVALID_EXPORT where something is missing or does not fit together."""
        if self._size:
            self._end_line()
        header, state = self._header, self._state
        if header is None or self._trailer is None:
            self._number += 1
            raise self._wrong("", "the export ends here, before its last line: it was cut off")
        self._number = 1
        for name, here, there in (
            ("definition_id", header.definition_id, state.definition_id),
            ("version", header.version, state.version),
        ):
            if here != there:
                raise self._wrong(name, f"is {here!r}, and {there!r} in the history")
        if not _is_plain(msgspec.to_builtins(state, builtin_types=(bytes,)), _STATE_DEPTH_MAX):
            raise self._wrong("", "the history holds values that are no values here: too deep, or beyond int64")
        payloads = {path: self._payloads[path] for path in open_tasks(state)}
        ended = state.status.ended
        return Brought(header, take_snapshot(state), ended, payloads, self._trailer.checksum)

    def _keep(self, part: bytes) -> None:
        if not part:
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > (limit := self._line_bytes_max):
            self._number += 1
            message = f"export:{self._number}:1: has more than import_line_bytes_max, {limit} bytes"
            known = {"limit": str(limit), "limit_name": "import_line_bytes_max"}
            raise Refused(Refusal(Kind.INVALID, "LIMIT_EXCEEDED", message, known))

    def _end_line(self) -> None:
        data = b"".join(self._parts)
        self._parts, self._size = [], 0
        self._number += 1
        try:
            self._line(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._wrong("", f"cannot be read: {error}") from error

    def _line(self, data: bytes) -> None:
        if self._trailer is not None:
            raise self._wrong("", "stands behind the last line of the export")
        if self._header is None:
            self._header = self._first(data)
        elif self._state.sequence == self._header.sequence:
            self._trailer = self._last(data)
            return
        else:
            self._event(self._header, data)
        self._digest.update(data)
        self._digest.update(b"\n")

    def _first(self, data: bytes) -> HistoryHeader:
        if (name := _format_of(data)) != FORMAT:
            raise self._wrong("format", f"is {name!r}; this server reads {FORMAT!r}")
        header = msgspec.json.decode(data, type=HistoryHeader)
        content = bytes(header.definition)
        if ("" if content == _NULL else hashlib.sha256(content).hexdigest()) != header.fingerprint:
            raise self._wrong("fingerprint", "is not that of the definition: the line was changed after the export")
        if header.sequence < 1:
            raise self._wrong("sequence", f"is {header.sequence}; there is no execution without an event")
        self._state = State(execution_id=header.execution_id)
        return header

    def _event(self, header: HistoryHeader, data: bytes) -> None:
        line = msgspec.json.decode(data, type=HistoryLine)
        due = self._state.sequence + 1
        if line.sequence != due:
            raise self._wrong("sequence", f"is {line.sequence} where {due} is due: lines are missing or in disorder")
        stored = StoredEvent(
            line.sequence,
            line.type.removeprefix(_TYPE),
            bytes(line.data),
            parse_timestamp(line.time),
            bytes.fromhex(line.hash),
            line.tostate,
            line.callerid,
            None if line.cause is None else line.cause.encode(),
        )
        self._check(line, _line_of(header, stored))
        self._check_hash(header, stored)
        try:
            apply(self._state, stored)
        except HistoryDamagedError as error:
            raise self._wrong("data", str(error)) from error
        self._remember(stored)

    def _check(self, line: HistoryLine, expected: HistoryLine) -> None:
        """What can be told from other fields has to say the same."""
        for name in HistoryLine.__struct_fields__:
            if name != "data" and (here := getattr(line, name)) != (due := getattr(expected, name)):
                raise self._wrong(name, f"is {here!r} where {due!r} is due: the line was changed after the export")

    def _check_hash(self, header: HistoryHeader, stored: StoredEvent) -> None:
        expected = event_hash(
            self._state.hash,
            header.tenant,
            header.execution_id,
            stored.sequence,
            stored.name,
            stored.payload,
            stored.created_at,
            stored.to_state,
            stored.event_id,
            stored.context,
        )
        if stored.hash != expected:
            raise self._wrong("hash", "does not hold: the line, or one before it, was changed after it was recorded")

    def _remember(self, stored: StoredEvent) -> None:
        """Keep the inputs of tasks while they are open."""
        if stored.name.partition(".")[0] not in _WITH_INPUT:
            return
        path = msgspec.json.decode(stored.payload, type=_Place).path
        run = self._state.runs.get(path)
        if run is None or not run.operation:
            return
        self._payloads[path] = stored.payload
        if len(self._payloads) >= _PRUNED_AFTER and not len(self._payloads) % _PRUNED_AFTER:
            wanted = open_tasks(self._state)
            self._payloads = {path: payload for path, payload in self._payloads.items() if path in wanted}

    def _last(self, data: bytes) -> _Trailer:
        assert self._header is not None
        trailer = msgspec.json.decode(data, type=_Trailer)
        if self._state.hash.hex() != self._header.hash:
            raise self._wrong("", "the last event's hash is not the one that the first line names")
        if trailer.events != self._state.sequence:
            raise self._wrong("events", f"is {trailer.events}; there are {self._state.sequence}")
        if trailer.checksum != self._digest.hexdigest():
            raise self._wrong("checksum", "does not hold: something above was changed after the export")
        return trailer

    def _wrong(self, path: str, message: str) -> Refused:
        violation = Violation(path, message, "INVALID_EXPORT", "export", self._number, 1)
        return Refused(Refusal(Kind.INVALID, "INVALID_EXPORT", violation.located, violations=(violation,)))


class _Place(msgspec.Struct):
    path: str = ""


class _Format(msgspec.Struct):
    format: str = ""


def _format_of(data: bytes) -> str:
    return msgspec.json.decode(data, type=_Format).format


def _is_plain(value: Any, depth_left: int) -> bool:
    """Whether what the events said is what the edge would have let in: the hashes say only that it was not changed."""
    if isinstance(value, int):
        return INT64_MIN <= value <= INT64_MAX
    if isinstance(value, dict):
        return depth_left > 0 and all(_is_plain(one, depth_left - 1) for one in cast("dict[str, Any]", value).values())
    if isinstance(value, list):
        return depth_left > 0 and all(_is_plain(one, depth_left - 1) for one in cast("list[object]", value))
    return True

"""The chain of ImportDefinitions: what an export wrote is published, all or none, with one revision.

    read -> load -> validate -> compile -> decide -> record -> invalidate -> announce

`read` finds every line that is not as an export writes it, or whose content is not what its fingerprint says. From
`load` on it is a batch like any other. Triggers that were paused where it was exported are paused here, too.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ..core.lifecycle import content_of
from ..core.refusals import Kind, Refusal, Refused, Violation
from .batching import BatchAnswer, Batching, batch_answer
from .chain import Chain, first
from .contents import Given, read_given
from .each import AllDecided, Each, for_each
from .exporting import FORMAT, ExportHeader, ExportLine
from .extensions import extended
from .publishing import Decided, Publish, Publishing, compile_content
from .recording import Announced, Origin


class Import(msgspec.Struct, frozen=True):
    """What is asked for."""

    origin: Origin
    text: str
    """The lines of an export."""
    validate_only: bool = False


class Importing:
    """Publishes what was exported."""

    def __init__(self, publishing: Publishing, batching: Batching) -> None:
        self._publishing = publishing
        self._batching = batching
        chain: Chain[Import, Announced[AllDecided[Decided]]] = (
            first("read", self._read)
            .then("load", batching.load)
            .then("validate", batching.validate)
            .then("compile", for_each(compile_content))
            .then("decide", batching.decide)
            .commit("record", publishing.ending.record)
            .then("invalidate", publishing.ending.invalidate)
            .then("announce", publishing.ending.announce)
        )
        self.chain = extended(chain, "publish", publishing.user_stages, publishing.clock)

    async def import_bundle(self, command: Import) -> BatchAnswer:
        """Publish what an export holds; what is published with the same content already stays as it is. Raises
        Refused: INVALID_EXPORT with the lines, and what a batch raises."""
        tenant = command.origin.tenant
        return await self._publishing.ending.carry_out(
            self.chain, command, batch_answer, lambda done: self._batching.as_it_is(tenant, done)
        )

    async def _read(self, command: Import) -> Each[Publish]:
        reader = _Reader(self._publishing, command)
        # Only line feeds end a line: others that Unicode knows may stand in the strings.
        for number, line in enumerate(command.text.split("\n"), 1):
            if line.strip():
                reader.line(number, line)
                if reader.hopeless:
                    break
                await asyncio.sleep(0)
        return reader.all()


class _Reader:
    """Takes the lines one after the other, and notes what is wrong with them."""

    def __init__(self, publishing: Publishing, command: Import) -> None:
        self._publishing = publishing
        self._command = command
        self._header: ExportHeader | None = None
        self._publishes: list[Publish] = []
        self._places: list[str] = []
        self._lines: dict[str, int] = {}
        self._wrong: list[Violation] = []

    def all(self) -> Each[Publish]:
        """What was read. Raises Refused(INVALID_EXPORT)."""
        if not self._publishes and not self._wrong:
            self._note(1, "", "holds no definitions")
        if self._wrong:
            message = "; ".join(violation.located for violation in self._wrong[:3])
            more = f"; and {len(self._wrong) - 3} more" if len(self._wrong) > 3 else ""
            raise Refused(Refusal(Kind.INVALID, "INVALID_EXPORT", message + more, violations=tuple(self._wrong)))
        return Each(tuple(self._publishes), tuple(self._places))

    def line(self, number: int, text: str) -> None:
        """The next line that is not empty."""
        try:
            if self._header is None:
                self._head(number, text)
            else:
                line = msgspec.json.decode(text.encode(), type=ExportLine)
                self._definition(number, line, msgspec.json.decode(line.definition))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            what = "is no definition of an export" if self._header is not None else "is not the header of an export"
            self._note(number, "", f"{what}: {error}")

    @property
    def hopeless(self) -> bool:
        """Whether it is no export at all, so that its other lines need not be looked at."""
        return bool(self._wrong) and (self._header is None or self._header.format != FORMAT)

    def _head(self, number: int, text: str) -> None:
        self._header = msgspec.json.decode(text.encode(), type=ExportHeader)
        if self._header.format != FORMAT:
            self._note(number, "format", f"is {self._header.format!r}; this server reads {FORMAT!r}")

    def _definition(self, number: int, line: ExportLine, plain: Any) -> None:
        earlier = self._lines.setdefault(line.definition_id, number)
        if earlier != number:
            self._note(number, "definition_id", f"is {line.definition_id!r}, as in line {earlier}; each once")
            return
        given = Given(definition=plain)
        self._check(number, line, given)
        self._places.append(f"lines[{number}]")
        self._publishes.append(
            Publish(
                self._command.origin,
                line.definition_id,
                given,
                validate_only=self._command.validate_only,
                imported=True,
                paused=line.paused,
            )
        )

    def _check(self, number: int, line: ExportLine, given: Given) -> None:
        """Whether the line agrees with itself. What cannot be read as a definition is told by `validate`, as of any."""
        try:
            reading = read_given(given, self._publishing.limits)
        except Refused:
            return
        if reading.violations:
            return
        definition = reading.definition
        if definition.id != line.definition_id:
            self._note(number, "definition.id", f"is {definition.id!r}, but the line is about {line.definition_id!r}")
        if content_of(definition).fingerprint.hex() != line.fingerprint:
            self._note(number, "fingerprint", "is not that of the content: the line was changed after the export")
        own = {trigger.id for trigger in definition.triggers}
        for trigger_id in line.paused:
            if trigger_id not in own:
                self._note(number, "paused", f"names the trigger {trigger_id!r}, which the definition does not have")

    def _note(self, number: int, path: str, message: str) -> None:
        self._wrong.append(Violation(path, message, "INVALID_EXPORT", "export", number, 1))

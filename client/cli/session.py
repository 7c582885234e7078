"""What every command that talks to a server shares: its options, the client, and exit codes for what goes wrong."""

import asyncio
import errno
import functools
import re
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from .output import Output
from .refusals import complain, refuse

if TYPE_CHECKING:
    from ..client import Client

REFUSED = 1
USAGE = 2
UNREACHABLE = 3
NOT_COMPLETED = 4
STILL_RUNNING = 5

CONNECT_SECONDS_MAX = 5.0
"""How long a command looks for a server that does not answer."""

ADDRESS_HELP = "The server; else CALLBOARD_ADDRESS [127.0.0.1:7519]."
TENANT_HELP = "The tenant; else CALLBOARD_TENANT [default]."
_USER_HELP = "On whose behalf, for the history; else CALLBOARD_USER."

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Session:
    """Where a command is to go, and how it is to speak."""

    address: str
    tenant: str
    user: str
    timeout: float
    output: Output

    def connect(self) -> "Client":
        """A client; inside a running loop."""
        from ..client import Client  # noqa: PLC0415 - grpc is slow to import, and a wrong usage does not need it

        return Client(
            self.address, tenant=self.tenant, user=self.user, timeout=self.timeout, retry_for=CONNECT_SECONDS_MAX
        )


def connected(function: Callable[..., Coroutine[Any, Any, int | None]]) -> Callable[..., Any]:
    """Makes a command of a coroutine function that takes a client and a session first. What it returns is the exit
    code; refusals and failures to connect become theirs."""

    @click.option("--address", "-a", metavar="HOST:PORT", envvar="CALLBOARD_ADDRESS", help=ADDRESS_HELP)
    @click.option("--tenant", "-t", metavar="NAME", envvar="CALLBOARD_TENANT", help=TENANT_HELP)
    @click.option("--user", metavar="NAME", envvar="CALLBOARD_USER", default="", help=_USER_HELP)
    @click.option("--timeout", metavar="TIME", type=Length(), default=30.0, help="For each call [30s].")
    @click.option("--json", "as_json", is_flag=True, help="One JSON document, or one a line, on standard output.")
    @click.pass_context
    @functools.wraps(function)
    def run(ctx: click.Context, /, **options: Any) -> None:
        given: dict[str, Any] = ctx.obj or {}
        session = Session(
            address=_first(ctx, "address", options.pop("address"), given) or "127.0.0.1:7519",
            tenant=_first(ctx, "tenant", options.pop("tenant"), given) or "default",
            user=options.pop("user"),
            timeout=options.pop("timeout"),
            output=Output(as_json=options.pop("as_json")),
        )
        ctx.exit(_run(function, session, options))

    return run


def _first(ctx: click.Context, name: str, own: str | None, given: dict[str, Any]) -> str | None:
    """The command's own option, the group's, the environment: whichever comes first."""
    if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
        return own
    return given.get(name) or own


def _run(function: Callable[..., Coroutine[Any, Any, int | None]], session: Session, options: dict[str, Any]) -> int:
    from ..codec import NotJson  # noqa: PLC0415 - see `Session.connect`
    from ..errors import CallboardError, Unreachable  # noqa: PLC0415

    async def within() -> int | None:
        async with session.connect() as client:
            return await function(client, session, **options)

    try:
        return asyncio.run(within()) or 0
    except Unreachable as error:
        complain(error.message)
        return UNREACHABLE
    except CallboardError as error:
        refuse(error)
        return REFUSED
    except NotJson as error:
        complain(str(error))
        return USAGE
    except OSError as error:
        if error.errno == errno.EPIPE:
            # Whoever was reading has seen enough: click ends the command quietly.
            raise
        complain(f"the answer cannot be written: {error.strerror or error}")
        return REFUSED
    except KeyboardInterrupt:
        return 130


def fail(message: str) -> NoReturn:
    """Ends the command as wrongly used."""
    raise click.UsageError(message)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


class Length(click.ParamType[float]):
    """A length of time: a number of seconds, or such as `250ms`, `10m`, `1h30m`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            self.fail(f"{text!r} is no length of time; write 30, 30s, 10m or 1h30m", param, ctx)
        return sum(float(number) * _UNITS[unit] for number, unit in parts)


class Moment(click.ParamType[datetime]):
    """A moment in RFC 3339, such as `2026-01-31T12:00:00Z`."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write it as 2026-01-31T12:00:00Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} names no zone; end it with Z for UTC, or with such as +02:00", param, ctx)
        return moment


FOREVER_SECONDS = 10 * 365 * 86400.0


def wait_option(help_: str) -> Callable[[Command], Command]:
    """The option `--wait [TIME]`; without a time it waits however long it takes."""
    return click.option(
        "--wait", type=Length(), is_flag=False, flag_value=FOREVER_SECONDS, metavar="[TIME]", help=help_
    )


def expected_option(command: Command) -> Command:
    """The option `--expected-sequence`."""
    return click.option(
        "--expected-sequence",
        type=click.IntRange(min=1),
        metavar="SEQUENCE",
        help="Only if the execution is still at this sequence; else nothing happens (SEQUENCE_MISMATCH, exit code 1).",
    )(command)


def asks() -> bool:
    """Whether there is a person to ask. Programs have said what they want."""
    return sys.stdin.isatty()


def confirm(question: str) -> None:
    """Asks a person whether to go on, and ends the command where not."""
    click.confirm(question, abort=True, err=True)


def read_text(name: str) -> str:
    """The text of a file, or of standard input for `-`. Raises OSError and UnicodeDecodeError."""
    return sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")


class JsonValue(click.ParamType[Any]):
    """A JSON value: as it stands, `@file`, or `-` for standard input."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        import json  # noqa: PLC0415 - few commands take a value

        if not isinstance(value, str):
            return value
        try:
            return json.loads(self._text(value), object_pairs_hook=_members, parse_constant=_no_constant)
        except OSError as error:
            self.fail(f"{value[1:]}: {error.strerror}", param, ctx)
        except ValueError as error:
            self.fail(f"not JSON: {error}", param, ctx)

    @staticmethod
    def _text(value: str) -> str:
        if value == "-":
            return read_text(value)
        return read_text(value[1:]) if value.startswith("@") else value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of an object. Python would take the last of two with one name, and nobody would know."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return members


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def labels(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Labels given as `name=value`."""
    pairs = [value.partition("=") for value in values]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise click.BadParameter("write NAME=VALUE", ctx, param)
    found = {name: value for name, _, value in pairs}
    if len(found) < len(pairs):
        raise click.BadParameter("a label has one value", ctx, param)
    return found

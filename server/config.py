"""The configuration of `callboard serve`: one frozen value, checked once, handed down.

Each option has one name: `--drain-seconds` on the command line, `CALLBOARD_DRAIN_SECONDS` in the environment,
`drain_seconds` in `callboard.toml`; the first of these three that is there counts. The limits of the engine are given
by their own names, as they stand in GetServerInfo: `--limit payload_bytes_max=2097152`, `CALLBOARD_LIMIT` with several
separated by commas, or the table `[limits]`.

Every mistake is told at once, each with the place it comes from.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeGuard, TypeVar, cast

import msgspec

from callboard.runtime.core.turn import Limits
from callboard.runtime.settings import Settings
from callboard.runtime.tasks import DispatcherSettings

FILE_NAME: Final = "callboard.toml"
ENVIRONMENT_PREFIX: Final = "CALLBOARD_"
MEBIBYTE: Final = 1024 * 1024

_MODULE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_STAGE: Final = re.compile(
    r"(?P<chain>[a-z][a-z_-]*):(?P<side>before|after):(?P<place>[a-z][a-z_-]*)="
    rf"(?P<module>{_MODULE.pattern}):(?P<function>{_MODULE.pattern})"
)
_LISTEN: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+):(?P<port>\d{1,5})")
_UNIX: Final = re.compile(r"unix:\S+")

_S = TypeVar("_S", bound=msgspec.Struct)


class ConfigError(Exception):
    """The configuration is wrong; the message has one line for each mistake, with its place."""


class StageSpec(msgspec.Struct, frozen=True):
    """A stage of the user's own, as it was named: `<chain>:<before|after>:<place>=<module>:<callable>`."""

    chain: str
    after: bool
    place: str
    """The stage of the chain beside which it runs."""
    module: str
    function: str

    def __str__(self) -> str:
        return f"{self.chain}:{'after' if self.after else 'before'}:{self.place}={self.module}:{self.function}"


class ServerConfig(msgspec.Struct, frozen=True):
    """Everything a server is started with."""

    data: Path = Path("callboard-data")
    """The data directory; made where it is not there."""
    listen: str = "127.0.0.1:7519"
    """Where to listen: `host:port` (port 0: a free one) or `unix:/path`."""
    handlers: tuple[str, ...] = ()
    """Modules with an `Operations` registry named `operations`, whose handlers run in this process."""
    handlers_tenants: tuple[str, ...] = ("default",)
    """The tenants whose tasks these handlers do."""
    handlers_concurrency_max: int = 64
    """Tasks that the handlers of one tenant do at a time."""
    stages: tuple[StageSpec, ...] = ()
    """Stages of the user's own in the chains of lifecycle changes, in the order in which they run."""
    log_format: str = "text"
    log_level: str = "info"
    drain_seconds: float = 30.0
    """How long a shutdown waits for what is under way."""
    message_bytes_max: int = 16 * MEBIBYTE
    """Bytes of one gRPC message that is received."""
    connection_age_seconds_max: float = 0.0
    """Connections are renewed at this age, workers are asked before; 0: never."""
    backup: bool = True
    """Whether to copy the database before a migration."""
    settings: Settings = Settings()
    dispatching: DispatcherSettings = DispatcherSettings()

    @property
    def database(self) -> Path:
        """The database file."""
        return self.data / "callboard.db"


class Option(msgspec.Struct, frozen=True):
    """One option: its name, how it is read from text, and what people are told."""

    name: str
    read: Callable[[Any], Any]
    metavar: str
    help: str
    several: bool = False
    word: str = ""
    """Its name on the command line, where that is another one."""

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + (self.word or self.name.replace("_", "-"))

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return ENVIRONMENT_PREFIX + self.name.upper()


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty")
    return value


def _listen(value: Any) -> str:
    text = _text(value)
    if _UNIX.fullmatch(text):
        return text
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise ValueError(f"{text!r} is not of the form host:port, with a port from 0 to 65535")
    return text


def _module(value: Any) -> str:
    text = _text(value)
    if not _MODULE.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a Python module")
    return text


def _stage(value: Any) -> StageSpec:
    text = _text(value)
    match = _STAGE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not of the form <chain>:<before|after>:<stage>=<module>:<function>, "
            "such as publish:before:record=policies:check_names"
        )
    return StageSpec(match["chain"], match["side"] == "after", match["place"], match["module"], match["function"])


def _one_of(*known: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        text = _text(value).lower()
        if text not in known:
            raise ValueError(f"{text!r} is none of {', '.join(known)}")
        return text

    return read


def _whole(lowest: int, highest: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError(f"{value!r} is not a whole number") from None
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError(f"{value!r} is not a whole number")
        if not lowest <= number <= highest:
            raise ValueError(f"{number} is not from {lowest} to {highest}")
        return number

    return read


def _seconds(lowest: float, highest: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{value!r} is not a number of seconds") from None
        if isinstance(value, bool) or not lowest <= number <= highest:
            raise ValueError(f"{value!r} is not from {lowest:g} to {highest:g} seconds")
        return number

    return read


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if not isinstance(value, str) or value.lower() not in known:
        raise ValueError(f"{value!r} is neither true nor false")
    return known[value.lower()]


OPTIONS: Final = (
    Option("data", lambda value: Path(_text(value)).expanduser(), "DIR", "The data directory [./callboard-data]."),
    Option("listen", _listen, "HOST:PORT", "Where to listen, or unix:/path; port 0: a free one [127.0.0.1:7519]."),
    Option("handlers", _module, "MODULE", "A module with `operations`, run in this process. Repeatable.", True),
    Option("handlers_tenants", _text, "TENANT", "A tenant whose tasks the handlers do [default]. Repeatable.", True),
    Option("handlers_concurrency_max", _whole(1, 100_000), "N", "Tasks the handlers do at a time [64]."),
    Option(
        "stages",
        _stage,
        "CHAIN:before|after:STAGE=MODULE:FUNCTION",
        "A stage of your own in a chain of lifecycle changes, such as publish:before:record=policies:check. "
        "Repeatable.",
        True,
        "stage",
    ),
    Option("log_format", _one_of("text", "json"), "text|json", "The form of the logs [text]."),
    Option("log_level", _one_of("debug", "info", "warning", "error"), "LEVEL", "The least level logged [info]."),
    Option("drain_seconds", _seconds(0, 3_600), "SECONDS", "How long a shutdown waits for what is under way [30]."),
    Option("message_bytes_max", _whole(65_536, 1 << 30), "BYTES", "The largest message received [16 MiB]."),
    Option(
        "connection_age_seconds_max", _seconds(0, 86_400 * 30), "SECONDS", "Renew connections of this age [0: never]."
    ),
    Option("backup", _boolean, "true|false", "Copy the database before a migration [true]."),
)
"""Every option but the limits."""

_LIMIT: Final = "limit"
_LIMITS_TABLE: Final = "limits"
_MAY_BE_ZERO: Final = frozenset(
    {
        "cancel_grace_us",
        "event_ids_seconds",
        "jobs_kept_seconds",
        "kept_events_max",
        "labels_max",
        "poll_wait_seconds_max",
        "progress_bytes_max",
        "prune_wait_seconds",
        "ready_input_bytes_max",
        "reconnect_grace_seconds",
        "request_ids_seconds",
        "settled_tokens_max",
        "sleep_tail_events_min",
        "snapshot_events_min",
        "subscriptions_max",
        "wait_seconds_max",
        "waiting_calls_max",
        "watchers_max",
    }
)
"""Limits at which 0 means none. With any other at 0 the server would take nothing, or never rest."""


class Found(msgspec.Struct, frozen=True):
    """A value as it was found, and where."""

    value: Any
    place: str


def load(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> ServerConfig:
    """Put the three sources together. `flags` holds what was given on the command line, by the options' names, and
    `limit` as a list of `name=value`. `file`: must be there; without it `callboard.toml` of the working directory
    counts, if there is one. Raises ConfigError."""
    problems: list[str] = []
    table, table_place = _read_file(file)
    values: dict[str, Any] = {}
    for option in OPTIONS:
        found = _find(option, flags, environment, table, table_place)
        if found is not None:
            _take(option, found, values, problems)
    limits = _find_limits(flags, environment, table, table_place, problems)
    values |= _with_limits(limits, problems)
    problems += _unknown_keys(table, table_place)
    if problems:
        raise ConfigError("\n".join(problems))
    return ServerConfig(**values)


def _find(
    option: Option,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    table: Mapping[str, Any],
    table_place: Callable[[str], str],
) -> Found | None:
    given = flags.get(option.name)
    if given is not None and given != ():
        return Found(given, option.flag)
    text = environment.get(option.variable, "")
    if text:
        return Found(tuple(_split(text)) if option.several else text, option.variable)
    if option.name in table:
        return Found(table[option.name], table_place(option.name))
    return None


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _take(option: Option, found: Found, values: dict[str, Any], problems: list[str]) -> None:
    try:
        if not option.several:
            values[option.name] = option.read(found.value)
            return
        given = found.value if _is_several(found.value) else (found.value,)
        values[option.name] = tuple(option.read(one) for one in given)
    except ValueError as error:
        problems.append(f"{found.place}: {error}")


def _is_several(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _read_file(file: Path | None) -> tuple[dict[str, Any], Callable[[str], str]]:
    path = file or Path(FILE_NAME)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if file is not None:
            raise ConfigError(f"{file}: there is no such file") from None
        return {}, lambda name: name
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        return tomllib.loads(text), lambda name: _place_in(path, text, name)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None


def _place_in(path: Path, text: str, name: str) -> str:
    """`callboard.toml:3: name`, as far as the line of a key can be seen."""
    key = re.escape(name.rpartition(".")[2])
    pattern = re.compile(rf"\s*[\"']?{key}[\"']?\s*=|\s*\[\s*{key}\s*\]")
    number = next((number for number, line in enumerate(text.split("\n"), 1) if pattern.match(line)), 0)
    return f"{path}:{number}: {name}" if number else f"{path}: {name}"


def _unknown_keys(table: Mapping[str, Any], place: Callable[[str], str]) -> list[str]:
    known = {option.name for option in OPTIONS} | {_LIMITS_TABLE}
    return [f"{place(name)}: there is no such option" for name in table if name not in known]


def _find_limits(
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    table: Mapping[str, Any],
    place: Callable[[str], str],
    problems: list[str],
) -> dict[str, Found]:
    """Limits by name, each from the first source that has it."""
    found: dict[str, Found] = {}
    in_file = table.get(_LIMITS_TABLE, {})
    if isinstance(in_file, dict):
        given_there = cast(Mapping[str, Any], in_file)
        found |= {name: Found(value, place(f"{_LIMITS_TABLE}.{name}")) for name, value in given_there.items()}
    else:
        problems.append(f"{place(_LIMITS_TABLE)}: must be a table")
    variable = ENVIRONMENT_PREFIX + _LIMIT.upper()
    for source, given in ((variable, _split(environment.get(variable, ""))), ("--limit", flags.get(_LIMIT) or ())):
        for text in given:
            name, equals, value = str(text).partition("=")
            if not equals:
                problems.append(f"{source}: {text!r} is not of the form name=value")
                continue
            found[name.strip()] = Found(value.strip(), f"{source} {name.strip()}")
    return found


def _with_limits(limits: dict[str, Found], problems: list[str]) -> dict[str, Any]:
    """The settings with these limits in place of the defaults."""
    left = dict(limits)
    decisions = _changed(Limits(), left, problems)
    settings = msgspec.structs.replace(_changed(Settings(), left, problems), decisions=decisions)
    dispatching = _changed(DispatcherSettings(), left, problems)
    problems += [f"{found.place}: there is no limit of this name" for found in left.values()]
    return {"settings": settings, "dispatching": dispatching}


def _changed(settings: _S, limits: dict[str, Found], problems: list[str]) -> _S:
    changes: dict[str, Any] = {}
    for field in msgspec.structs.fields(settings):
        default = getattr(settings, field.name)
        if not isinstance(default, int | float) or field.name not in limits:
            continue
        found = limits.pop(field.name)
        zero = field.name in _MAY_BE_ZERO
        read = _seconds(0 if zero else 0.001, 1e9) if isinstance(default, float) else _whole(0 if zero else 1, 2**53)
        try:
            changes[field.name] = read(found.value)
        except ValueError as error:
            problems.append(f"{found.place}: {error}")
    return msgspec.structs.replace(settings, **changes)

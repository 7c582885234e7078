"""Retry policies and time limits of tasks: a step's own fields over the definition's defaults, and their sense."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from . import definition as lang
from .durations import TimeTextError, parse_duration
from .nodes import Path, Problems
from .plan import Duration, RetryPolicy, Timeouts

_Part = TypeVar("_Part", bound=msgspec.Struct)

ReadDuration = Callable[[str, Path], Duration | None]
"""Reads a duration or one `${...}` at a path; None where it is absent or wrong (and noted)."""

BACKOFF_FACTOR_MAX = 1_000.0

_DEFAULT = RetryPolicy()


def merged(own: _Part | None, default: _Part | None, empty: _Part) -> _Part:
    """Field by field: a step's own where it is set, else the default's."""
    if own is None:
        return default or empty
    if default is None:
        return own
    unset = {name: getattr(default, name) for name in own.__struct_fields__ if getattr(own, name) in (None, "", ())}
    return msgspec.structs.replace(own, **unset)


def retry_policy(retry: lang.Retry) -> RetryPolicy:
    """The policy of merged fields that `check_retry` has nothing against."""
    return RetryPolicy(
        max_attempts=_DEFAULT.max_attempts if retry.max_attempts is None else retry.max_attempts,
        initial_backoff=constant(retry.initial_backoff, _DEFAULT.initial_backoff),
        backoff_factor=_DEFAULT.backoff_factor if retry.backoff_factor is None else retry.backoff_factor,
        max_backoff=constant(retry.max_backoff, None),
        jitter=retry.jitter or 0.0,
        retry_on=retry.retry_on,
        non_retryable=retry.non_retryable,
        park=retry.on_exhausted is lang.OnExhausted.PARK,
    )


_Else = TypeVar("_Else", int, "int | None")


def constant(text: str, absent: _Else) -> int | _Else:
    """Microseconds of a constant duration; `absent` for none, or for one that is wrong and noted elsewhere."""
    try:
        return parse_duration(text) if text else absent
    except TimeTextError:
        return absent


def timeouts(limits: lang.Timeouts, path: Path, read: ReadDuration) -> Timeouts:
    """The limits of merged fields; each is positive."""
    return Timeouts(
        queue=read(limits.queue, (*path, "queue")),
        attempt=read(limits.attempt, (*path, "attempt")),
        total=read(limits.total, (*path, "total")),
        cancel_grace=read(limits.cancel_grace, (*path, "cancel_grace")),
    )


def check_retry(retry: lang.Retry, path: Path, problems: Problems) -> None:
    """The sense of each field that is set."""
    if retry.max_attempts is not None and retry.max_attempts < 0:
        problems.add((*path, "max_attempts"), "must be 0 (no limit) or more", "OUT_OF_RANGE")
    if retry.backoff_factor is not None and not 1 <= retry.backoff_factor <= BACKOFF_FACTOR_MAX:
        message = f"must be within 1 and {BACKOFF_FACTOR_MAX:g}"
        problems.add((*path, "backoff_factor"), message, "OUT_OF_RANGE")
    if retry.jitter is not None and not 0 <= retry.jitter <= 1:
        problems.add((*path, "jitter"), "must be within 0 and 1", "OUT_OF_RANGE")
    for name, text in (("initial_backoff", retry.initial_backoff), ("max_backoff", retry.max_backoff)):
        _check_backoff(text, (*path, name), problems)
    for name, types in (("retry_on", retry.retry_on), ("non_retryable", retry.non_retryable)):
        check_types(types, (*path, name), problems)


def check_merged(retry: lang.Retry, path: Path, problems: Problems) -> None:
    """The sense of the fields together, once the defaults are in."""
    first = constant(retry.initial_backoff, _DEFAULT.initial_backoff)
    longest = constant(retry.max_backoff, None)
    if longest is not None and first > longest:
        written = retry.initial_backoff or "1s (the default)"
        problems.add(path, f"`max_backoff` {retry.max_backoff} is shorter than `initial_backoff` {written}", "CONFLICT")
    both = sorted(set(retry.retry_on) & set(retry.non_retryable))
    if both:
        problems.add(path, f"{', '.join(both)}: both in `retry_on` and in `non_retryable`", "CONFLICT")
    if retry.max_attempts is None and (retry.initial_backoff or retry.max_backoff or retry.retry_on):
        message = "without `max_attempts` there is one attempt, so nothing is retried"
        problems.add(path, message, "NO_RETRY", warning=True)


def retention(text: str, problems: Problems) -> int | None:
    """How long ended executions are kept, in microseconds: a constant of more than zero; None: not said."""
    path = ("retention",)
    if "${" in text:
        problems.add(path, "a retention is a constant; nothing in it is evaluated", "CONSTANT")
        return None
    try:
        kept_us = parse_duration(text) if text else None
    except TimeTextError as error:
        problems.add(path, str(error), "INVALID_DURATION", at=(1, error.column))
        return None
    if kept_us == 0:
        problems.add(path, "must be more than zero", "OUT_OF_RANGE")
    return kept_us


def check_types(types: tuple[str, ...], path: Path, problems: Problems) -> None:
    """Failure types by name."""
    for number, name in enumerate(types):
        if not name:
            problems.add((*path, number), "a failure type has a name", "REQUIRED")


def _check_backoff(text: str, path: Path, problems: Problems) -> None:
    if "${" in text:
        problems.add(path, "a backoff is a constant; nothing in it is evaluated", "CONSTANT")
        return
    try:
        positive = not text or parse_duration(text) > 0
    except TimeTextError as error:
        problems.add(path, str(error), "INVALID_DURATION", at=(1, error.column))
        return
    if not positive:
        problems.add(path, "must be more than zero", "OUT_OF_RANGE")

"""One server as a process: signals, the ready line, the end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from typing import Final, NoReturn

from callboard.runtime.lifecycle.extensions import UserStage

from .config import ServerConfig
from .loading import Registered
from .telemetry import Telemetry
from .wiring import serving, version

log = logging.getLogger("callboard.server")

EXIT_STORAGE_FAILED: Final = 70
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def serve(
    config: ServerConfig, telemetry: Telemetry, registered: Sequence[Registered], stages: tuple[UserStage, ...] = ()
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once. Raises ServeError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(number: int) -> None:
        if stop.is_set():
            log.warning("asked again to stop: stopping at once")
            _exit(128 + number)
        log.info("stopping", extra={"signal": signal.Signals(number).name, "drain_seconds": config.drain_seconds})
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, asked, number)
    try:
        async with serving(
            config, telemetry=telemetry, registered=registered, stages=stages, on_fatal=_fatal
        ) as server:
            info = server.runtime.info
            log.info(
                "ready",
                extra={
                    "address": server.address,
                    "data": str(config.data),
                    "version": version(),
                    "schema": info.schema_version,
                    "boot": info.boot,
                    "open_tasks": server.runtime.dispatcher.open_tasks,
                },
            )
            await stop.wait()
        log.info("stopped")
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _fatal(error: BaseException) -> None:
    """The storage is in an unknown state: nothing may be acknowledged any more, not even by a call under way."""
    log.critical("the storage failed; stopping at once: %s", error)
    _exit(EXIT_STORAGE_FAILED)


def _exit(code: int) -> NoReturn:
    logging.shutdown()
    os._exit(code)

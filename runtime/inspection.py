"""Queues and workers as people see them."""

from __future__ import annotations

from collections.abc import Iterable

from .board import ReadyQueue
from .sessions import WorkerSession
from .tasks import QueueInfo, WorkerInfo


def worker_infos(sessions: Iterable[WorkerSession]) -> list[WorkerInfo]:
    """These workers, by id."""
    return sorted((session.info() for session in sessions), key=lambda worker: worker.worker_id)


def queue_infos(queues: Iterable[ReadyQueue], sessions: Iterable[WorkerSession], now: int) -> list[QueueInfo]:
    """These queues of one tenant, by operation, with what its workers have room for."""
    seats: dict[str, tuple[int, int]] = {}
    for session in sessions:
        free = max(0, session.max_in_flight - session.used) if session.open else 0
        for operation in session.operations:
            workers, slots = seats.get(operation, (0, 0))
            seats[operation] = (workers + 1, slots + free)
    found = [_queue_info(queue, now, *seats.get(queue.operation, (0, 0))) for queue in queues]
    return sorted(found, key=lambda queue: queue.operation)


def _queue_info(queue: ReadyQueue, now: int, workers: int, free_slots: int) -> QueueInfo:
    oldest = min((entry.since for entry in queue.heads()), default=None)
    return QueueInfo(
        queue.operation,
        queue.queued + queue.withheld,
        queue.running,
        None if oldest is None else max(0, now - oldest),
        workers,
        free_slots,
    )

"""Listing and counting in memory: every row is looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from ..filters import Filter, holds
from ..listing_rows import LABEL_GROUPS, CountQuery, CountSlice, ListPage, ListQuery, Order, by_change, position_of
from ..rows import ExecutionRecord
from .memory_executions import ExecutionTables
from .memory_lifecycle import LifecycleTables

_WAITING_TIMERS = {"retry": "RETRY", "wait": "TIMER"}


class MemoryListing:
    """The verbs `listed` and `counted`."""

    _executions: ExecutionTables
    _lifecycle: LifecycleTables

    async def listed(self, query: ListQuery) -> ListPage:
        """Always full, while there are any: rows cost nothing here."""
        matching = [
            record
            for record in self._matching(query.tenant, query.where)
            if query.order is not Order.ENDED or record.head.ended_at
        ]
        if query.order is Order.UPDATED:
            keys, after = by_change(((record.head.updated_at, record.key) for record in matching), query)
            return ListPage([self._executions.executions[key] for key in keys], after)
        places = sorted((position_of(record, query.order), record.key) for record in matching)
        if query.descending:
            places.reverse()
        if query.after:
            places = [place for place in places if _is_behind(place[0], query)]
        page = [self._executions.executions[key] for _, key in places[: query.limit]]
        return ListPage(page, places[query.limit - 1][0] if len(places) > query.limit else ())

    async def counted(self, query: CountQuery) -> CountSlice:
        """All in one slice."""
        matching = self._matching(query.tenant, query.where)
        values = [
            _group(record, query.group_by) for record in matching if not query.before or record.key < query.before
        ]
        groups = Counter(value for value in values if value is not None)
        return CountSlice(len(values), dict(groups), 0)

    def _matching(self, tenant: str, where: Filter) -> Iterable[ExecutionRecord]:
        for record in self._executions.executions.values():
            if record.ref.tenant == tenant and holds(where, _Row(record, self._executions, self._lifecycle)):
                yield record


def _is_behind(place: tuple[int | str, ...], query: ListQuery) -> bool:
    return place < query.after if query.descending else place > query.after


def _group(record: ExecutionRecord, group_by: str) -> str | None:
    if group_by.startswith(LABEL_GROUPS):
        return _labels(record).get(group_by.removeprefix(LABEL_GROUPS))
    return str(getattr(record.head, group_by)) if group_by else None


def _labels(record: ExecutionRecord) -> dict[str, str]:
    return msgspec.json.decode(record.head.labels, type=dict[str, str])


class _Row:
    """An execution with the tables around it."""

    def __init__(self, record: ExecutionRecord, executions: ExecutionTables, lifecycle: LifecycleTables) -> None:
        self._record = record
        self._executions = executions
        self._lifecycle = lifecycle
        self._labels: Mapping[str, str] | None = None

    def text(self, field: str) -> str:
        """Of the head, but for the id."""
        return self._record.ref.execution_id if field == "execution_id" else str(getattr(self._record.head, field))

    def number(self, field: str) -> int:
        """A head's `started_at` is when the execution was accepted."""
        value: int = getattr(self._record.head, "started_at" if field == "created_at" else field)
        return value

    @property
    def labels(self) -> Mapping[str, str]:
        """Decoded once."""
        if self._labels is None:
            self._labels = _labels(self._record)
        return self._labels

    @property
    def incidents(self) -> int:
        """Of the head."""
        return self._record.head.incidents

    def steps(self, field: str) -> list[str]:
        """Of open tasks, waits and timers."""
        key, tables = self._record.key, self._executions
        tasks = [row.operation for (owner, _), row in tables.tasks.items() if owner == key]
        if field == "operation":
            return tasks
        if field == "event":
            waiting = (places for (owner, _), places in self._lifecycle.waiting.items() if owner == key)
            return [name for places in waiting for (_, name, _), _ in places]
        timers = [_WAITING_TIMERS[name] for owner, _, name in tables.timers if owner == key and name in _WAITING_TIMERS]
        return [*timers, "TASK"] if tasks else timers

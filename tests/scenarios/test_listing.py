"""Listing and counting over the wire: filters, orders, pages under writes, counts, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.scenarios.kit import HOLD, WAITING, Api, eventually, payload, refused, worker

from callboard.runtime import listings
from callboard.v1 import execution_control_pb2 as control_pb2
from callboard.v1 import execution_service_pb2 as pb2
from callboard.v1 import failure_pb2

STEPS = """
id: steps
labels: {region: "${input.region}"}
steps:
  - id: all
    parallel:
      branches:
        - id: a
          steps:
            - {id: work, task: {service: s, operation: one}, retry: {max_attempts: 9, initial_backoff: 1h}}
        - {id: b, steps: [{id: pause, wait: {duration: 1h}}]}
        - {id: c, steps: [{id: heard, receive: {event: paid, key: "'k-1'"}}]}
"""


NAMED = """
id: named
steps:
  - {id: packing, set_state: packing, receive: {event: packed}}
  - {id: sending, set_state: sending, receive: {event: sent}}
"""


async def _listed(api: Api, filter_text: str = "", order_by: str = "", page_size: int = 0) -> list[str]:
    """The ids of a whole listing, page by page."""
    request = pb2.ListExecutionsRequest(filter=filter_text, order_by=order_by, page_size=page_size)
    found: list[str] = []
    while True:
        page = await api.executions.ListExecutions(request, metadata=api.metadata)
        found += [one.execution_id for one in page.executions]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def _counted(api: Api, filter_text: str = "", group_by: str = "") -> tuple[int, dict[str, int]]:
    request = pb2.CountExecutionsRequest(filter=filter_text, group_by=group_by)
    answer = await api.executions.CountExecutions(request, metadata=api.metadata)
    return answer.count, {group.value: group.count for group in answer.groups}


async def _terminate(api: Api, execution_id: str) -> None:
    await api.executions.TerminateExecution(control_pb2.TerminateExecutionRequest(execution_id=execution_id))


@pytest.fixture
async def seven(api: Api) -> Api:
    """x-0 to x-6 wait; x-1 and x-4 have ended, x-4 first."""
    await api.publish(WAITING)
    for n in range(7):
        await api.start("waiting", f"x-{n}", labels={"parity": "odd" if n % 2 else "even", "n": str(n)})
    await _terminate(api, "x-4")
    await _terminate(api, "x-1")
    return api


@pytest.mark.parametrize(
    ("filter_text", "found"),
    [
        ("", "6543210"),
        ('status == "TERMINATED"', "41"),
        ('status != "TERMINATED" && labels.parity == "odd"', "53"),
        ('labels.n in ["2", "6"] || status == "TERMINATED"', "6421"),
        ('!(labels.parity == "even")', "531"),
        ('labels.n.startsWith("3")', "3"),
        ('"n" in labels && !("m" in labels) && labels.m != "x"', "6543210"),
        ('definition_id.startsWith("wait") && version == 1 && execution_id in ["x-0", "x-4"]', "40"),
        ('ended_at > timestamp("2020-01-01T00:00:00Z")', "41"),
        ('started_at < timestamp("2020-01-01T00:00:00Z") || incident', ""),
    ],
)
async def test_a_filter_is_answered(seven: Api, filter_text: str, found: str) -> None:
    assert await _listed(seven, filter_text, page_size=2) == [f"x-{n}" for n in found]
    assert (await _counted(seven, filter_text))[0] == len(found)


@pytest.mark.parametrize(
    ("order_by", "found"),
    [
        ("created_at", "0123456"),
        ("created_at desc", "6543210"),
        ("ended_at", "41"),
        ("ended_at desc", "14"),
        ("execution_id asc", "0123456"),
        ("execution_id desc", "6543210"),
        ("updated_at", "0235641"),
        ("updated_at desc", "1465320"),
    ],
)
async def test_an_order_is_kept_over_pages(seven: Api, order_by: str, found: str) -> None:
    assert await _listed(seven, order_by=order_by, page_size=2) == [f"x-{n}" for n in found]


async def test_a_token_belongs_to_its_order(seven: Api) -> None:
    first = await seven.executions.ListExecutions(pb2.ListExecutionsRequest(page_size=2))
    other = pb2.ListExecutionsRequest(page_size=2, page_token=first.next_page_token, order_by="execution_id")
    assert (await refused(seven.executions.ListExecutions(other))).reason == "INVALID_PAGE_TOKEN"


async def test_an_order_that_looks_at_all_is_refused_for_many(seven: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "ORDERED_ROWS_MAX", 4)
    for filter_text in ("", 'status == "RUNNING"'):
        request = pb2.ListExecutionsRequest(filter=filter_text, order_by="updated_at desc")
        refusal = await refused(seven.executions.ListExecutions(request))
        assert (refusal.reason, refusal.metadata["limit"]) == ("LIMIT_EXCEEDED", "ordered_rows_max")
        assert "order_by" in refusal.fields
    assert await _listed(seven, 'labels.parity == "even"', "updated_at desc", page_size=3) == [
        "x-4",
        "x-6",
        "x-2",
        "x-0",
    ]
    assert await _listed(seven, 'labels.parity == "even" && status == "RUNNING"', "updated_at") == ["x-0", "x-2", "x-6"]


async def test_what_open_steps_do_is_found(api: Api) -> None:
    await api.publish(STEPS)
    await api.publish(WAITING)
    await api.start("waiting", "other")
    for region in ("eu", "us"):
        await api.start("steps", region, input=payload({"region": region}))
    tasks = 'waiting_on in ["QUEUE", "WORKER"]'
    assert await _listed(api, 'operation == "s.one"') == ["us", "eu"]
    assert await _listed(api, f'{tasks} && labels.region == "eu"') == ["eu"]
    assert await _listed(api, 'event == "paid" && waiting_on == "TIMER"') == ["us", "eu"]
    assert await _listed(api, 'waiting_on == "RETRY"') == []
    again = failure_pb2.Failure(type="Odd", message="again", retryable=True)
    async with worker(api, lambda task: again if task.execution_id == "eu" else HOLD):
        assert await eventually(lambda: _listed(api, 'waiting_on == "RETRY"')) == ["eu"]
        assert await _listed(api, f"!({tasks})") == ["eu", "other"]
        assert await _listed(api, tasks) == ["us"]
    await _terminate(api, "us")
    assert await _listed(api, 'operation.startsWith("s.") || event == "paid"') == ["eu"]


async def test_what_an_author_has_named_is_found(api: Api) -> None:
    await api.publish(NAMED)
    for name in ("n-1", "n-2", "n-3"):
        await api.start("named", name)
    await api.submit("n-2", "packed")
    await api.submit("n-3", "packed")
    await _terminate(api, "n-3")
    await _terminate(api, "n-1")
    assert await _listed(api, 'state == "packing"') == ["n-1"]
    assert await _listed(api, 'state == "sending"') == ["n-3", "n-2"]
    assert await _listed(api, 'state in ["sending", "terminated"] && status == "TERMINATED"') == ["n-3"]
    assert await _counted(api, group_by="state") == (3, {"sending": 2, "packing": 1})
    assert await _counted(api, 'state != "packing" && status == "RUNNING"', "definition_id") == (1, {"named": 1})


async def test_counts_are_by_every_field(seven: Api) -> None:
    assert await _counted(seven, group_by="status") == (7, {"RUNNING": 5, "TERMINATED": 2})
    assert await _counted(seven, group_by="definition_id") == (7, {"waiting": 7})
    assert await _counted(seven, 'status == "RUNNING"', "version") == (5, {"1": 5})
    assert await _counted(seven, "", "labels.parity") == (7, {"even": 4, "odd": 3})
    assert await _counted(seven, 'labels.parity == "odd"', "state") == (3, {"running": 2, "terminated": 1})
    assert await _counted(seven, "", "labels.nothing") == (7, {})
    answer = await seven.executions.CountExecutions(pb2.CountExecutionsRequest(group_by="labels.parity"))
    assert [group.value for group in answer.groups] == ["even", "odd"]


async def test_another_tenant_is_neither_listed_nor_counted(seven: Api) -> None:
    other = seven.of("other")
    assert await _listed(other, 'labels.parity == "odd" || execution_id == "x-1"') == []
    assert await _listed(other, order_by="execution_id") == await _listed(other, order_by="ended_at") == []
    assert await _counted(other, group_by="status") == (0, {})
    await other.publish(WAITING)
    await other.start("waiting", "x-1")
    assert await _listed(other, 'definition_id == "waiting"') == ["x-1"]
    assert await _counted(other, group_by="status") == (1, {"RUNNING": 1})


async def test_pages_stay_put_while_executions_start_and_end(seven: Api) -> None:
    busy = True

    async def disturb() -> None:
        number = 0
        while busy:
            number += 1
            await seven.start("waiting", f"y-{number}", labels={"n": "0"})
            await _terminate(seven, f"y-{number}")

    writing = asyncio.create_task(disturb())
    for order_by, kept in (("created_at desc", "6543210"), ("execution_id desc", "6543210"), ("ended_at", "41")):
        found = await _listed(seven, 'execution_id != "z"', order_by, page_size=2)
        assert [one for one in found if one.startswith("x")] == [f"x-{n}" for n in kept]
        assert len(found) == len(set(found))
    busy = False
    await writing


@pytest.mark.parametrize(
    ("fields", "reason", "where"),
    [
        ({"order_by": "updated_at upwards"}, "INVALID_FILTER", "order_by"),
        ({"order_by": "state"}, "INVALID_FILTER", "order_by"),
        ({"order_by": "created_at upwards"}, "INVALID_FILTER", "order_by"),
        ({"order_by": "created_at, ended_at"}, "INVALID_FILTER", "order_by"),
        ({"filter": 'event == "paid" && waiting_on == "EVENT"'}, "INVALID_FILTER", "filter"),
        ({"filter": "paused"}, "INVALID_FILTER", "filter"),
        ({"view": 2}, "UNSUPPORTED", "view"),
        ({"view": 77}, "INVALID_REQUEST", "view"),
    ],
)
async def test_what_cannot_be_listed_is_refused_by_name(
    api: Api, fields: dict[str, Any], reason: str, where: str
) -> None:
    refusal = await refused(api.executions.ListExecutions(pb2.ListExecutionsRequest(**fields)))
    assert refusal.reason == reason
    assert where in refusal.fields


@pytest.mark.parametrize("group_by", ["updated_at", "labels.", "labels", "incident"])
async def test_what_cannot_be_counted_by_is_refused(api: Api, group_by: str) -> None:
    refusal = await refused(api.executions.CountExecutions(pb2.CountExecutionsRequest(group_by=group_by)))
    assert (refusal.reason, list(refusal.fields)) == ("INVALID_REQUEST", ["group_by"])

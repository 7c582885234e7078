"""Every RPC there is, called by a second tenant with everything it could know of the first: it finds nothing of it, and
changes nothing of it. The RPCs are asked of the contract itself, so that a new one is covered without a new test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from tests.scenarios.kit import Api, payload
from tests.scenarios.lifecycle import text

from callboard.v1 import (
    definition_service_pb2,
    execution_events_pb2,
    execution_service_pb2,
    operation_service_pb2,
    server_service_pb2,
    worker_service_pb2,
)

FILES = (definition_service_pb2, execution_service_pb2, operation_service_pb2, server_service_pb2, worker_service_pb2)
WHOLE_STORE = {"Backup"}
"""An operator's call, about all tenants by its nature."""
METHODS: list[MethodDescriptor] = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.name not in WHOLE_STORE
]
SECRET = "only-ours"
"""Stands in everything the first tenant has."""
SECONDS_MAX = 3.0
"""How long an answer, or the next part of a stream, is waited for; what says nothing has said nothing."""

NAMES = {
    "definition_id": SECRET,
    "execution_id": f"{SECRET}-x",
    "trigger_id": "placed",
    "event_id": f"{SECRET}-e",
    "dead_letter_id": "1",
    "subscription_id": f"{SECRET}-s",
    "worker_id": f"{SECRET}-w",
    "step_path": "got",
    "name": "go",
    "key": SECRET,
    "version": 1,
    "sequence": 1,
    "reason": "curious",
}
"""What the second tenant has heard of, by the names of the fields that take it."""


@pytest.fixture
async def ours(api: Api) -> AsyncIterator[Api]:
    """The first tenant: a definition, executions, an event that was kept, a subscription, an open task."""
    first = api.of("ours", "ann")
    await first.publish(text(1).replace("id: flow", f"id: {SECRET}"))
    await first.start(SECRET, f"{SECRET}-x", input=payload(SECRET), unique_key=SECRET)
    await first.enqueue(f"{SECRET}-x", "nobody", SECRET, event_id=f"{SECRET}-e")
    await first.until(f"{SECRET}-x", "EventReceived")
    await first.publish(f"id: {SECRET}-task\nsteps: [{{id: a, task: {{service: s, operation: {SECRET}}}}}]")
    await first.start(f"{SECRET}-task", f"{SECRET}-open")
    subscription = execution_events_pb2.CreateSubscriptionRequest(subscription_id=f"{SECRET}-s", from_start=True)
    await first.executions.CreateSubscription(subscription, metadata=first.metadata)
    yield first


def filled(method: MethodDescriptor) -> Any:
    """A request with everything that is known."""
    request: Any = message_factory.GetMessageClass(method.input_type)()
    for field in method.input_type.fields:
        if not field.is_repeated and field.message_type is None and field.name in NAMES:
            setattr(request, field.name, NAMES[field.name])
        elif field.message_type is not None and not field.is_repeated and field.name in ("payload", "result"):
            getattr(request, field.name).CopyFrom(payload("theirs"))
    _choose(request, method.input_type.fields)
    return request


def _choose(request: Any, fields: Iterable[FieldDescriptor]) -> None:
    """Enums that have to say something say the first thing that they can."""
    for field in fields:
        if field.enum_type is not None and not field.is_repeated and field.name in ("action", "control"):
            setattr(request, field.name, 1)


async def answers(api: Api, method: MethodDescriptor) -> list[Any]:
    """What comes within a moment; a refusal is an answer, too."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    response = message_factory.GetMessageClass(method.output_type)
    stub = getattr(api.channel, kind)(
        path, request_serializer=lambda message: message.SerializeToString(), response_deserializer=response.FromString
    )
    sent = filled(method)
    call = stub(iter([sent]) if method.client_streaming else sent, metadata=api.metadata)
    found: list[Any] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SECONDS_MAX):
            try:
                if not method.server_streaming:
                    return [await call]
                async for part in call:
                    found += [part]
            except grpc.aio.AioRpcError as error:
                found.append(error)
    call.cancel()
    return found


async def everything(api: Api) -> list[Any]:
    """All that the first tenant sees of its own."""
    request = definition_service_pb2.ListDefinitionEventsRequest()
    return [
        await api.history(f"{SECRET}-x"),
        await api.history(f"{SECRET}-open"),
        (await api.definitions.ListDefinitionEvents(request, metadata=api.metadata)).events,
        (
            await api.definitions.ListTriggers(definition_service_pb2.ListTriggersRequest(), metadata=api.metadata)
        ).triggers,
        await api.dead_letters(),
    ]


@pytest.mark.parametrize("method", METHODS, ids=[method.full_name.removeprefix("callboard.v1.") for method in METHODS])
async def test_a_second_tenant_finds_nothing_of_the_first(ours: Api, method: MethodDescriptor) -> None:
    theirs = ours.of("theirs", "eve")
    before = await everything(ours)
    for answer in await answers(theirs, method):
        if isinstance(answer, grpc.aio.AioRpcError):
            assert answer.code() is not grpc.StatusCode.INTERNAL, answer
            continue
        told = _without_own(answer)
        found = [secret for secret in (SECRET, '"ours"', '"ann"') if secret in told]
        assert not found, told[:1_000]
    assert await everything(ours) == before


def _without_own(answer: Any) -> str:
    """An answer without what the second tenant has made itself by this very call (its own execution, event, id)."""
    made = ("subscription", "execution", "event_id", "definition", "definition_version", "trigger")
    plain = type(answer)()
    plain.CopyFrom(answer)
    for name in made:
        field = plain.DESCRIPTOR.fields_by_name.get(name)
        tenant = getattr(getattr(plain, name, None), "tenant", "theirs")
        if field is not None and tenant == "theirs":
            plain.ClearField(name)
    return str(plain)

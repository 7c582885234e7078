"""Workers over the stream and by the unary twins."""

import asyncio
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration
from tests.server.client import SINGLE, StreamWorker, Stubs, json_payload, refused

from callboard.server.config import ServerConfig
from callboard.server.wiring import serving
from callboard.v1 import errors_pb2, execution_service_pb2, payload_pb2, server_service_pb2, tasks_pb2
from callboard.v1 import worker_service_pb2 as pb2

ACCEPTED = tasks_pb2.TASK_DISPOSITION_ACCEPTED
DUPLICATE = tasks_pb2.TASK_DISPOSITION_DUPLICATE
INVALID = tasks_pb2.TASK_DISPOSITION_INVALID


def result(token: bytes, text: str = "1") -> tasks_pb2.TaskResult:
    return tasks_pb2.TaskResult(task_token=token, output=json_payload(text))


async def test_a_stream_greets_delivers_and_acknowledges(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    worker = StreamWorker(stubs)
    welcome = await worker.connect()
    assert (welcome.lease.seconds, welcome.ping_interval.seconds) == (30, 10)
    await stubs.start("single", '{"a":1}', execution_id="e1")
    [task] = await worker.tasks()
    assert (task.execution_id, task.step_path, task.service, task.operation) == ("e1", "only", "demo", "echo")
    assert (task.input.json, task.attempt) == ('{"a":1}', 1)
    await worker.send(result(task.task_token))
    [ack] = await worker.next_acks()
    assert (ack.task_token, ack.disposition) == (task.task_token, ACCEPTED)
    await worker.send(result(task.task_token))
    [ack] = await worker.next_acks()
    assert ack.disposition == DUPLICATE


async def test_one_bad_item_never_costs_the_others(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    worker = StreamWorker(stubs)
    await worker.connect()
    for number in range(4):
        await stubs.start("single", str(number))
    tasks = []
    while len(tasks) < 4:
        tasks += await worker.tasks()
    good, garbage, unknown, nothing = (one.task_token for one in tasks)
    odd = result(unknown)
    odd.MergeFromString(b"\xf8\x38\x01")
    sent = [result(good), result(garbage, "{"), odd, tasks_pb2.TaskResult(task_token=nothing), result(b"forged")]
    await worker.send(*sent)
    acks = {}
    while len(acks) < 5:
        acks |= {ack.task_token: ack for ack in await worker.next_acks()}
    assert acks[good].disposition == ACCEPTED
    for token in (garbage, unknown, nothing, b"forged"):
        assert acks[token].disposition == INVALID
    assert acks[garbage].reason == errors_pb2.ERROR_REASON_INVALID_JSON
    assert acks[unknown].reason == errors_pb2.ERROR_REASON_UNKNOWN_FIELD
    assert acks[b"forged"].reason == errors_pb2.ERROR_REASON_INVALID_TOKEN


async def test_a_result_that_can_never_fit_fails_the_attempt(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    worker = StreamWorker(stubs)
    await worker.connect()
    started = asyncio.ensure_future(stubs.start("single", wait=10))
    [task] = await worker.tasks()
    await worker.send(result(task.task_token, '"' + "x" * 1_100_000 + '"'))
    assert (await started).execution.failure.type == "ResultTooLarge"


async def test_a_stream_begins_with_hello_and_has_one(stubs: Stubs) -> None:
    call = stubs.workers.Work()
    await call.write(pb2.WorkRequest())
    error = await refused(call.read())
    assert (error.reason, error.fields) == ("INVALID_REQUEST", ["hello"])
    worker = StreamWorker(stubs)
    await worker.connect()
    await worker.call.write(pb2.WorkRequest(hello=worker.hello))
    assert (await refused(worker.next_acks())).fields == ["hello"]


async def test_unknown_fields_outside_items_end_the_stream(stubs: Stubs) -> None:
    worker = StreamWorker(stubs)
    await worker.connect()
    frame = pb2.WorkRequest()
    frame.MergeFromString(b"\xf8\x38\x01")
    await worker.call.write(frame)
    assert (await refused(worker.next_acks())).reason == "UNKNOWN_FIELD"


async def test_a_frame_stops_at_what_the_worker_takes(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    worker = StreamWorker(stubs)
    worker.hello.max_frame_bytes = 30_000
    text = '"' + "x" * 10_000 + '"'
    for _ in range(6):
        await stubs.start("single", text)
    await worker.connect()
    frames = []
    while sum(map(len, frames)) < 6:
        tasks = await worker.tasks()
        assert sum(task.ByteSize() for task in tasks) <= 30_000
        frames.append(tasks)
    assert len(frames) >= 3


async def test_a_broken_stream_gives_back_what_it_held(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    first = StreamWorker(stubs)
    await first.connect()
    await stubs.start("single", "5", execution_id="e1")
    [task] = await first.tasks()
    first.call.cancel()
    second = StreamWorker(stubs)
    second.hello.holding.append(task.task_token)
    welcome = await second.connect()
    assert list(welcome.holding) == [task.task_token]
    await second.send(result(task.task_token))
    assert (await second.next_acks())[0].disposition == ACCEPTED


async def test_a_worker_drains(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    worker = StreamWorker(stubs)
    await worker.connect()
    await stubs.start("single")
    [task] = await worker.tasks()
    await worker.call.write(pb2.WorkRequest(drain=True))
    await worker.send(result(task.task_token))
    assert (await worker.next_acks())[0].disposition == ACCEPTED
    while (frame := await asyncio.wait_for(worker.call.read(), 10)) is not grpc.aio.EOF:
        assert not frame.tasks
    assert await worker.call.code() is grpc.StatusCode.OK


async def test_the_unary_twins(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    poll = pb2.PollTasksRequest(worker_id="w1", operations=["demo.echo"], max_tasks=5, wait=Duration(seconds=10))
    polling = asyncio.ensure_future(stubs.workers.PollTasks(poll))
    await asyncio.sleep(0.1)
    started = asyncio.ensure_future(stubs.start("single", '"x"', wait=10))
    [task] = (await polling).tasks
    beat = tasks_pb2.TaskHeartbeat(task_token=task.task_token, progress=json_payload("50"))
    beats = await stubs.workers.HeartbeatTasks(pb2.HeartbeatTasksRequest(worker_id="w1", heartbeats=[beat]))
    assert [(one.disposition, one.heartbeat) for one in beats.acks] == [(ACCEPTED, True)]
    results = [result(task.task_token, '"done"'), result(b"forged"), result(task.task_token, '"done"')]
    done = await stubs.workers.CompleteTasks(pb2.CompleteTasksRequest(worker_id="w1", results=results))
    assert [ack.disposition for ack in done.acks] == [ACCEPTED, INVALID, DUPLICATE]
    assert (await started).execution.output.json == '"done"'
    poll.wait.CopyFrom(Duration())
    assert not (await stubs.workers.PollTasks(poll)).tasks


async def test_what_is_wrong_with_a_poll(stubs: Stubs) -> None:
    assert (await refused(stubs.workers.PollTasks(pb2.PollTasksRequest()))).fields == ["worker_id"]
    many = [tasks_pb2.TaskResult(task_token=b"x")] * 1_001
    error = await refused(stubs.workers.CompleteTasks(pb2.CompleteTasksRequest(worker_id="w", results=many)))
    assert (error.reason, error.metadata["limit_name"]) == ("LIMIT_EXCEEDED", "tasks_per_call_max")


async def test_queues_and_workers_are_shown(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    await stubs.start("single")
    [queue] = (await stubs.operators.ListQueues(server_service_pb2.ListQueuesRequest())).queues
    assert (queue.operation, queue.queued, queue.workers) == ("demo.echo", 1, 0)
    workers = [StreamWorker(stubs, f"w{number}") for number in range(3)]
    for worker in workers:
        await worker.connect()
    page = await stubs.operators.ListWorkers(server_service_pb2.ListWorkersRequest(page_size=2))
    assert [one.worker_id for one in page.workers] == ["w0", "w1"]
    rest = server_service_pb2.ListWorkersRequest(page_size=2, page_token=page.next_page_token)
    assert [one.worker_id for one in (await stubs.operators.ListWorkers(rest)).workers] == ["w2"]


async def test_payloads_that_are_not_json_pass_through(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    working = asyncio.ensure_future(StreamWorker(stubs).work())
    request = {"content_type": "image/png", "data": b"\x89PNG\x00"}
    start = execution_service_pb2.StartExecutionRequest(
        definition_id="single", input=payload_pb2.Payload(**request), wait=Duration(seconds=10)
    )
    answer = await stubs.executions.StartExecution(start)
    assert (answer.execution.output.content_type, answer.execution.output.data) == ("image/png", b"\x89PNG\x00")
    working.cancel()


async def test_at_the_end_of_a_drain_streams_are_told(stubs: Stubs) -> None:
    worker = StreamWorker(stubs)
    await worker.connect()
    draining = asyncio.ensure_future(stubs.server.drain())
    frame = await asyncio.wait_for(worker.call.read(), 10)
    assert frame.HasField("reconnect")
    error = await refused(worker.next_acks())
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    await draining


async def test_a_drain_lets_workers_finish(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    worker = StreamWorker(stubs)
    await worker.connect()
    started = asyncio.ensure_future(stubs.start("single", "3", wait=10, execution_id="e1"))
    [task] = await worker.tasks()
    draining = asyncio.ensure_future(stubs.server.drain())
    assert (await asyncio.wait_for(worker.call.read(), 10)).HasField("reconnect")
    error = await refused(stubs.start("single"))
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    await worker.send(result(task.task_token, "4"))
    assert (await worker.next_acks())[0].disposition == ACCEPTED
    assert (await started).execution.output.json == "4"
    await draining


async def test_an_old_connection_is_asked_to_move(tmp_path: Path) -> None:
    config = ServerConfig(data=tmp_path, listen="127.0.0.1:0", drain_seconds=1, connection_age_seconds_max=1)
    async with serving(config) as server, grpc.aio.insecure_channel(server.address) as channel:
        worker = StreamWorker(Stubs(channel, server))
        await worker.connect()
        frame = await asyncio.wait_for(worker.call.read(), 5)
        assert frame.reconnect.reason == "the connection is old"
        assert frame.reconnect.grace.seconds == 60

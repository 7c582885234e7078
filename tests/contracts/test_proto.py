"""The contract on the wire: the generated code is that of the .proto files, and these keep their own conventions."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

from callboard.v1 import definitions_pb2, errors_pb2, execution_service_pb2, worker_service_pb2

# Numbers of fields in descriptor.proto; a place in a source file is a path of them.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_MESSAGE, _MESSAGE_ENUM, _MESSAGE_ONEOF = 2, 3, 4, 8
_ENUM_VALUE, _SERVICE_METHOD = 2, 2

RPCS = {
    "DefinitionService": "PutDraft PublishDefinition BatchPublish RetractDefinition DeleteDefinition RevertDefinition "
    "GetDefinition ListDefinitions ListDefinitionVersions ListDefinitionEvents ListTriggers PauseTrigger ResumeTrigger "
    "FireTrigger ExportDefinitions ImportDefinitions",
    "ExecutionService": "StartExecution StartExecutions SubmitEvent EnqueueEvent PublishEvent GetExecution "
    "WaitExecution ListExecutions CountExecutions GetHistory WatchExecution WatchEvents ReplayExecution "
    "VerifyExecution CreateSnapshot ForkExecution DeleteExecution ExportExecution ImportExecution PauseExecution "
    "ResumeExecution CancelExecution TerminateExecution RetryExecution ResolveStep MigrateExecution SetVariables "
    "ScheduleStep CancelStep EraseExecution BatchControl ListDeadLetters RequeueDeadLetter DiscardDeadLetter "
    "CreateSubscription ListSubscriptions PullSubscription AckSubscription DeleteSubscription PruneExecutions "
    "GetJob ListJobs",
    "WorkerService": "Work PollTasks CompleteTasks HeartbeatTasks",
    "OperationService": "RegisterOperations ListOperations PauseOperation ResumeOperation PurgeStepCache "
    "GetStepCacheStats",
    "ServerService": "GetServerInfo ListQueues ListWorkers DrainWorker Backup",
}
READS = re.compile(r"^(Get|List|Count|Wait|Watch|Replay|Verify|Export|Pull)[A-Z]|^Backup$")
# The task token already makes a repeat of these harmless; the items of a start stream carry a request_id each.
WITHOUT_REQUEST_ID = {"Work", "PollTasks", "CompleteTasks", "HeartbeatTasks", "StartExecutions"}


@pytest.fixture(scope="module")
def generator(repository: Path) -> ModuleType:
    """The script ``proto/generate.py``, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("callboard_proto_generate", repository / "proto" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    """The contract's files with their comments."""
    path = tmp_path_factory.mktemp("descriptors") / "set.binpb"
    generator.run(f"--descriptor_set_out={path}", "--include_source_info")
    return list(FileDescriptorSet.FromString(path.read_bytes()).file)


def test_generated_code_is_that_of_the_proto_files(generator: ModuleType, repository: Path, tmp_path: Path) -> None:
    generator.generate(tmp_path)
    fresh = generator.generated(tmp_path / "callboard" / "v1")
    committed = generator.generated(repository / "proto" / "callboard" / "v1")
    assert sorted(committed) == sorted(fresh)
    stale = [name for name in fresh if fresh[name] != committed[name]]
    assert not stale, "run `make proto`"


def test_services_are_those_of_the_contract(files: list[FileDescriptorProto]) -> None:
    found = {service.name: {rpc.name for rpc in service.method} for file in files for service in file.service}
    assert found == {service: set(names.split()) for service, names in RPCS.items()}


def test_everything_has_a_comment(files: list[FileDescriptorProto]) -> None:
    assert [f"{file.name}: {name}" for file in files for name in _uncommented(file)] == []


def test_every_file_says_where_its_code_goes_in_go_and_java(files: list[FileDescriptorProto]) -> None:
    for file in files:
        assert file.options.go_package.endswith(";callboardv1"), file.name
        assert file.options.java_package == "io.callboard.v1", file.name
        assert file.options.java_multiple_files, file.name


def test_enums_have_prefixed_values_and_an_unspecified_zero(files: list[FileDescriptorProto]) -> None:
    for file in files:
        for enum, _ in _enums(file):
            prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper() + "_"
            assert (enum.value[0].number, enum.value[0].name) == (0, f"{prefix}UNSPECIFIED")
            assert all(value.name.startswith(prefix) for value in enum.value), enum.name


def test_every_rpc_has_its_own_request_and_response(files: list[FileDescriptorProto]) -> None:
    for file in files:
        for service in file.service:
            for rpc in service.method:
                assert rpc.input_type == f".callboard.v1.{rpc.name}Request"
                assert rpc.output_type == f".callboard.v1.{rpc.name}Response"


def test_every_rpc_that_changes_something_takes_a_request_id(files: list[FileDescriptorProto]) -> None:
    messages = {message.name: message for file in files for message in file.message_type}
    for name in (name for names in RPCS.values() for name in names.split()):
        fields = {field.name for field in messages[f"{name}Request"].field}
        changes = not READS.match(name) and name not in WITHOUT_REQUEST_ID
        assert ("request_id" in fields) == changes, name


def test_lists_have_pages(files: list[FileDescriptorProto]) -> None:
    messages = {message.name: message for file in files for message in file.message_type}
    for name in (name for names in RPCS.values() for name in names.split() if name.startswith("List")):
        assert {"page_size", "page_token"} <= {field.name for field in messages[f"{name}Request"].field}, name
        assert "next_page_token" in {field.name for field in messages[f"{name}Response"].field}, name


def test_no_message_has_a_name_that_languages_or_people_confuse(files: list[FileDescriptorProto]) -> None:
    assert {"Error", "Set", "Event"}.isdisjoint({message.name for file in files for message in file.message_type})


def test_every_reason_says_its_status_code(files: list[FileDescriptorProto]) -> None:
    file = next(file for file in files if file.name.endswith("/errors.proto"))
    comments = _comments(file)
    for index, value in enumerate(file.enum_type[0].value[1:], start=1):
        assert re.match(r" [A-Z_]+: ", comments[(_FILE_ENUM, 0, _ENUM_VALUE, index)]), value.name
    assert errors_pb2.ErrorReason.Name(errors_pb2.ERROR_REASON_EXECUTION_ENDED) == "ERROR_REASON_EXECUTION_ENDED"


def test_each_kind_of_step_is_one_member_of_the_file_form() -> None:
    kinds = {field.name for field in definitions_pb2.Step.DESCRIPTOR.oneofs_by_name["kind"].fields}
    expected = "task sequence parallel graph switch foreach loop wait receive emit subflow set fail finish"
    assert kinds == set(expected.split())


def test_the_file_form_is_the_json_mapping() -> None:
    definition = json_format.ParseDict(
        {
            "id": "example",
            "defaults": {"retry": {"max_attempts": 0, "initialBackoff": "200ms"}},
            "steps": [
                {"id": "init", "set": {"period": 0, "anchor": "${now}"}},
                {
                    "id": "each",
                    "foreach": {"items": "input.lines", "as": "line", "on_item_error": "ON_ITEM_ERROR_FAIL"},
                },
                {
                    "id": "decided",
                    "receive": {"any_of": [{"event": "yes"}, {"event": "no", "filter": "event.by == ''"}]},
                },
                {"id": "end", "finish": {}},
            ],
        },
        definitions_pb2.Definition(),
    )
    assert definition.defaults.retry.HasField("max_attempts")
    assert definition.steps[0].WhichOneof("kind") == "set"
    assert definition.steps[1].foreach.item_name == "line"
    assert definition.steps[3].WhichOneof("kind") == "finish"


def test_messages_survive_the_wire() -> None:
    request = execution_service_pb2.StartExecutionRequest(definition_id="example", execution_id="e-1")
    request.input.json = "9007199254740993"
    frame = worker_service_pb2.WorkRequest(drain=True)
    assert execution_service_pb2.StartExecutionRequest.FromString(request.SerializeToString()) == request
    assert worker_service_pb2.WorkRequest.FromString(frame.SerializeToString()) == frame


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {tuple(place.path): place.leading_comments for place in file.source_code_info.location}


def _uncommented(file: FileDescriptorProto) -> Iterator[str]:
    """The names of everything in a file that has no comment in front of it."""
    comments = _comments(file)
    for name, path in _declared(file):
        if not comments.get(path, "").strip():
            yield name


def _declared(file: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    for message, path in _messages(file):
        yield message.name, path
        yield from ((f"{message.name}.{x.name}", (*path, _MESSAGE_FIELD, i)) for i, x in enumerate(message.field))
        # A field with `optional` has a oneof of the compiler's own, which nobody wrote.
        written = [(i, x) for i, x in enumerate(message.oneof_decl) if not x.name.startswith("_")]
        yield from ((f"{message.name}.{x.name}", (*path, _MESSAGE_ONEOF, i)) for i, x in written)
    for enum, path in _enums(file):
        yield enum.name, path
        yield from ((value.name, (*path, _ENUM_VALUE, i)) for i, value in enumerate(enum.value))
    for index, service in enumerate(file.service):
        yield service.name, (_FILE_SERVICE, index)
        for i, rpc in enumerate(service.method):
            yield f"{service.name}.{rpc.name}", (_FILE_SERVICE, index, _SERVICE_METHOD, i)


def _messages(file: FileDescriptorProto) -> Iterator[tuple[DescriptorProto, tuple[int, ...]]]:
    """All messages written in a file; the entries of maps are the compiler's own."""
    pending = [(message, (_FILE_MESSAGE, index)) for index, message in enumerate(file.message_type)]
    while pending:
        message, path = pending.pop(0)
        if message.options.map_entry:
            continue
        yield message, path
        pending += [(inner, (*path, _MESSAGE_MESSAGE, i)) for i, inner in enumerate(message.nested_type)]


def _enums(file: FileDescriptorProto) -> Iterator[tuple[EnumDescriptorProto, tuple[int, ...]]]:
    yield from ((enum, (_FILE_ENUM, index)) for index, enum in enumerate(file.enum_type))
    for message, path in _messages(file):
        yield from ((enum, (*path, _MESSAGE_ENUM, i)) for i, enum in enumerate(message.enum_type))

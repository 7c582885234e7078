from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ViolationSeverity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VIOLATION_SEVERITY_UNSPECIFIED: _ClassVar[ViolationSeverity]
    VIOLATION_SEVERITY_ERROR: _ClassVar[ViolationSeverity]
    VIOLATION_SEVERITY_WARNING: _ClassVar[ViolationSeverity]
VIOLATION_SEVERITY_UNSPECIFIED: ViolationSeverity
VIOLATION_SEVERITY_ERROR: ViolationSeverity
VIOLATION_SEVERITY_WARNING: ViolationSeverity

class SourceText(_message.Message):
    __slots__ = ("name", "text")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class DefinitionViolation(_message.Message):
    __slots__ = ("path", "source_name", "line", "column", "message", "severity", "code", "definition_id")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_NAME_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    path: str
    source_name: str
    line: int
    column: int
    message: str
    severity: ViolationSeverity
    code: str
    definition_id: str
    def __init__(self, path: _Optional[str] = ..., source_name: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., message: _Optional[str] = ..., severity: _Optional[_Union[ViolationSeverity, str]] = ..., code: _Optional[str] = ..., definition_id: _Optional[str] = ...) -> None: ...

class DefinitionViolations(_message.Message):
    __slots__ = ("violations",)
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    violations: _containers.RepeatedCompositeFieldContainer[DefinitionViolation]
    def __init__(self, violations: _Optional[_Iterable[_Union[DefinitionViolation, _Mapping]]] = ...) -> None: ...

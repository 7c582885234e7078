"""The engine: usable inside any Python program, without gRPC.

async with Runtime.open("orders.db") as runtime:
    await runtime.publish(text)
    started = await runtime.start(Caller(), StartRequest("fulfil-order", input={...}))
"""

from .clock import ManualClock, SystemClock
from .core.refusals import Refusal, Refused, Violation
from .engine import Runtime
from .handlers import Operations, TaskError
from .requests import Caller, StartRequest
from .rows import ExecutionRef
from .settings import Settings
from .views import ExecutionView

__all__ = [
    "Caller",
    "ExecutionRef",
    "ExecutionView",
    "ManualClock",
    "Operations",
    "Refusal",
    "Refused",
    "Runtime",
    "Settings",
    "StartRequest",
    "SystemClock",
    "TaskError",
    "Violation",
]

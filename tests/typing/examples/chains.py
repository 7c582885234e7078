"""Chains of stages that are whole: each stage takes what the one before has made."""

from dataclasses import dataclass

from callboard.runtime.lifecycle.chain import Chain, Ran, Report, first


@dataclass(frozen=True)
class Order:
    text: str


@dataclass(frozen=True)
class Read:
    words: list[str]


@dataclass(frozen=True)
class Counted:
    count: int


@dataclass(frozen=True)
class Stored:
    key: int


async def read(order: Order) -> Read:
    return Read(order.text.split())


def count(read: Read) -> Counted:
    return Counted(len(read.words))


async def store(counted: Counted, stages: Report) -> Stored:
    return Stored(counted.count + len(stages))


async def tell(stored: Stored) -> int:
    return stored.key


chain: Chain[Order, int] = first("read", read).map("count", count).commit("store", store).then("tell", tell)
begun: Chain[Order, Counted] = first("read", read).map("count", count)


async def use() -> int:
    ran: Ran[int] = await chain.run(Order("one two"))
    names: list[str] = [stage.name for stage in ran.stages]
    rehearsed = await chain.run(Order("one two"), until="count")
    if isinstance(rehearsed.value, Counted):
        return rehearsed.value.count
    return ran.value + len(names)

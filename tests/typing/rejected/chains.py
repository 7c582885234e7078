"""Chains with a stage skipped, swapped or missing, and awaits that were forgotten."""

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


begun = first("read", read)
counted = begun.map("count", count)

skipped = begun.commit("store", store)  # error
swapped = counted.then("tell", tell)  # error
twice = counted.map("count", count)  # error
unfinished: Chain[Order, Stored] = counted  # error
reported_too_early = counted.then("store", store)  # error

# An effect as a pure stage: its value would be a coroutine that nobody has awaited.
not_awaited: Chain[Order, Read] = Chain[Order, Order](()).map("read", read)  # error
followed = Chain[Order, Order](()).map("read", read).map("count", count)  # error
# A pure stage as an effect.
nothing_to_await = begun.then("count", count)  # error
wrong_start = first("count", count)  # error


async def use() -> None:
    await counted.run(Read([]))  # error
    counted.run(Order("one"))  # error
    ran: Ran[Counted] = counted.run(Order("one"))  # error
    rehearsed = await counted.run(Order("one"), until="read")
    rehearsed.value.words  # error
    print(ran)

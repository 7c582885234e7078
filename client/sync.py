"""The blocking client: the asynchronous one on a loop in a thread of its own, wrapped method by method.

There is no second copy of anything: `blocking` and `iterating` take a method of `Client` and give the same method,
with the same parameters, to callers without a loop. A test holds the list complete.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from .client import Client

P = ParamSpec("P")
T = TypeVar("T")


class blocking(Generic[P, T]):  # noqa: N801 - reads like a decorator
    """A method that waits for the answer of a coroutine method of `Client`."""

    def __init__(self, method: Callable[Concatenate[Client, P], Coroutine[Any, Any, T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, owner: "SyncClient", kind: type["SyncClient"]) -> Callable[P, T]:
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return owner.run(self._method(owner.client, *args, **kwargs))

        call.__doc__ = self.__doc__
        return call


class iterating(Generic[P, T]):  # noqa: N801 - reads like a decorator
    """A method that gives the items of an asynchronous iterator of `Client` one by one, each when it is asked for."""

    def __init__(self, method: Callable[Concatenate[Client, P], AsyncIterator[T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, owner: "SyncClient", kind: type["SyncClient"]) -> Callable[P, Iterator[T]]:
        def call(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return owner.iterate(lambda: self._method(owner.client, *args, **kwargs))

        call.__doc__ = self.__doc__
        return call


class SyncClient:
    """`Client` for programs without an event loop: the same constructor and methods, each of which blocks.

        with SyncClient("127.0.0.1:7519") as client:
            execution = client.start("fulfil-order", input={"order_id": "o-1"}, wait=30)

    May be used from several threads at a time.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="callboard-client", daemon=True)
        self._thread.start()
        self._closed = False

        async def make() -> Client:
            return Client(*args, **kwargs)

        try:
            self.client = self.run(make())
        except BaseException:
            self._stop()
            raise

    publish = blocking(Client.publish)
    publish_all = blocking(Client.publish_all)
    validate = blocking(Client.validate)
    put_draft = blocking(Client.put_draft)
    publish_draft = blocking(Client.publish_draft)
    retract = blocking(Client.retract)
    delete_definition = blocking(Client.delete_definition)
    revert = blocking(Client.revert)
    definition = blocking(Client.definition)
    definitions = iterating(Client.definitions)
    versions = iterating(Client.versions)
    definition_events = iterating(Client.definition_events)
    export_definitions = blocking(Client.export_definitions)
    import_definitions = blocking(Client.import_definitions)
    triggers = iterating(Client.triggers)
    pause_trigger = blocking(Client.pause_trigger)
    resume_trigger = blocking(Client.resume_trigger)
    fire_trigger = blocking(Client.fire_trigger)
    start = blocking(Client.start)
    start_many = iterating(Client.start_many)
    wait = blocking(Client.wait)
    submit = blocking(Client.submit)
    enqueue = blocking(Client.enqueue)
    emit = blocking(Client.emit)
    get = blocking(Client.get)
    list = iterating(Client.list)
    count = blocking(Client.count)
    count_by = blocking(Client.count_by)
    history = iterating(Client.history)
    replay = blocking(Client.replay)
    replay_steps = iterating(Client.replay_steps)
    verify = blocking(Client.verify)
    create_snapshot = blocking(Client.create_snapshot)
    watch = iterating(Client.watch)
    cancel = blocking(Client.cancel)
    terminate = blocking(Client.terminate)
    pause = blocking(Client.pause)
    resume = blocking(Client.resume)
    retry = blocking(Client.retry)
    resolve = blocking(Client.resolve)
    dead_letters = iterating(Client.dead_letters)
    requeue = blocking(Client.requeue)
    discard = blocking(Client.discard)
    fork = blocking(Client.fork)
    delete_execution = blocking(Client.delete_execution)
    erase = blocking(Client.erase)
    prune = blocking(Client.prune)
    export_execution = iterating(Client.export_execution)
    import_execution = blocking(Client.import_execution)
    watch_events = iterating(Client.watch_events)
    subscribe = iterating(Client.subscribe)
    create_subscription = blocking(Client.create_subscription)
    subscriptions = iterating(Client.subscriptions)
    pull = blocking(Client.pull)
    ack = blocking(Client.ack)
    delete_subscription = blocking(Client.delete_subscription)
    job = blocking(Client.job)
    jobs = iterating(Client.jobs)
    wait_job = blocking(Client.wait_job)
    info = blocking(Client.info)
    queues = iterating(Client.queues)
    workers = iterating(Client.workers)
    drain_worker = blocking(Client.drain_worker)
    backup = blocking(Client.backup)

    @property
    def address(self) -> str:
        """The server's address."""
        return self.client.address

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Waits for a coroutine on the client's loop. An interrupted wait cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise
        except BaseException:
            future.cancel()
            raise

    def iterate(self, make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """The items of an asynchronous iterator made on the client's loop."""

        async def begin() -> AsyncIterator[T]:
            return make()

        items = self.run(begin())
        nothing = object()
        try:
            while (item := self.run(_next(items, nothing))) is not nothing:
                yield item
        finally:
            self.run(_close(items))

    def close(self) -> None:
        """Closes the connection and ends the thread. Closing again does nothing."""
        if not self._closed:
            self._closed = True
            self.run(self.client.close())
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> "SyncClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _next(items: AsyncIterator[T], nothing: Any) -> T:
    return await anext(items, nothing)


async def _close(items: AsyncIterator[Any]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()

"""What every store must do with lines: executions of one definition of which one at a time runs."""

from tests.contracts.store_kit import NOW, A, B, C, append, head, lost, ref, start, started, whys, written

from callboard.runtime.core.effects import CloseExecution, Effect, LeaveLine
from callboard.runtime.ports import Store
from callboard.runtime.rows import ExecutionAppend, ExecutionRef, InboxKind, LineClaim
from callboard.runtime.writes import Why

LINE = "key:k"
FIRST = (LineClaim(LINE),)
BEHIND = (LineClaim(LINE, behind=True),)
INSTEAD = (LineClaim(LINE, behind=True, cancels=True),)


def ended(key: int, ref: ExecutionRef, *effects: Effect) -> ExecutionAppend:
    left = effects or (LeaveLine(LINE),)
    return append(key, 1, *left, CloseExecution(), ref=ref, head=head(2, "COMPLETED", ended_at=NOW + 2))


async def members(store: Store, line: str = LINE) -> str:
    return "".join(each.execution_id for each in await store.line("acme", "d", line, 10))


async def told(store: Store, key: int) -> list[tuple[InboxKind, str]]:
    return [(row.kind, row.name) for row in await store.inbox(key, 10)]


class Lines:
    """Inherited by `StoreContract`."""

    async def test_the_first_in_a_line_holds_it(self, store: Store) -> None:
        await started(store, claims=FIRST)
        taken = await lost(store, start(B, claims=FIRST))
        assert (taken.why, taken.holder) == (Why.LINE_TAKEN, "a")
        assert await store.execution(B) is None
        assert await members(store) == "a"

    async def test_of_two_starts_in_one_batch_one_gets_the_line(self, store: Store) -> None:
        outcomes = await store.write([start(claims=FIRST), start(B, claims=FIRST), start(C)])
        assert whys(outcomes) == [None, Why.LINE_TAKEN, None]
        assert await members(store) == "a"

    async def test_lines_are_told_apart(self, store: Store) -> None:
        other = start(B, claims=(LineClaim("trigger:k"),))
        elsewhere = start(C, head=head(1, definition_id="e"), claims=FIRST)
        foreign = start(ExecutionRef("other", "a"), claims=FIRST)
        await written(store, start(claims=FIRST), other, elsewhere, foreign)
        assert await members(store) == "a"
        assert await members(store, "trigger:k") == "b"
        assert await store.line("acme", "e", LINE, 10) == [C]
        assert await store.line("other", "d", LINE, 10) == [ExecutionRef("other", "a")]

    async def test_a_place_behind_needs_somebody_before_it(self, store: Store) -> None:
        assert (await lost(store, start(claims=BEHIND))).why is Why.LINE_EMPTY
        await written(store, start(claims=FIRST), start(B, claims=BEHIND), start(C, claims=BEHIND))
        assert await members(store) == "abc"
        assert await store.line("acme", "d", LINE, 2) == [A, B]

    async def test_a_line_has_a_length(self, store: Store) -> None:
        two = (LineClaim(LINE, behind=True, length_max=2),)
        outcomes = await store.write([start(claims=FIRST), start(B, claims=two), start(C, claims=two)])
        assert whys(outcomes) == [None, None, Why.LINE_FULL]
        assert (await lost(store, start(C, claims=two))).why is Why.LINE_FULL

    async def test_a_start_takes_all_its_places_or_none(self, store: Store) -> None:
        await started(store, claims=FIRST)
        both = (LineClaim("trigger:t"), LineClaim(LINE))
        assert (await lost(store, start(B, claims=both))).why is Why.LINE_TAKEN
        assert await members(store, "trigger:t") == ""
        await written(store, start(B, claims=(LineClaim("trigger:t"), LineClaim(LINE, behind=True))))
        assert (await members(store), await members(store, "trigger:t")) == ("ab", "b")

    async def test_only_a_start_claims_and_each_line_once(self, store: Store) -> None:
        assert (await lost(store, start(claims=FIRST * 2))).why is Why.ROW
        key = await started(store)
        assert (await lost(store, append(key, 1, claims=FIRST))).why is Why.ROW

    async def test_the_end_releases_the_next_in_line(self, store: Store) -> None:
        key = await started(store, claims=FIRST)
        second = await started(store, ref=B, claims=BEHIND)
        third = await started(store, ref=C, claims=BEHIND)
        (committed,) = await written(store, ended(key, A))
        assert committed.woken == (B,)
        assert await told(store, second) == [(InboxKind.RELEASE, "")]
        assert await told(store, third) == []
        assert await members(store) == "bc"

    async def test_who_ends_while_it_waits_just_leaves(self, store: Store) -> None:
        await started(store, claims=FIRST)
        second = await started(store, ref=B, claims=BEHIND)
        third = await started(store, ref=C, claims=BEHIND)
        (committed,) = await written(store, ended(second, B))
        assert committed.woken == ()
        assert await told(store, third) == []
        assert await members(store) == "ac"

    async def test_ends_of_one_batch_follow_each_other(self, store: Store) -> None:
        first, second, third = await written(
            store, start(claims=FIRST), start(B, claims=BEHIND), start(C, claims=BEHIND)
        )
        one, two, three = await written(store, ended(first.key, A), ended(second.key, B), ended(third.key, C))
        assert (one.woken, two.woken, three.woken) == ((B,), (C,), ())
        assert await members(store) == ""
        assert await store.inbox_executions(0, 10) == []
        await written(store, start(ref("d"), claims=FIRST))

    async def test_a_line_is_left_and_taken_in_one_batch(self, store: Store) -> None:
        key = await started(store, claims=FIRST)
        outcomes = await store.write(
            [start(B, claims=FIRST), ended(key, A), start(C, claims=BEHIND), start(B, claims=FIRST)]
        )
        assert whys(outcomes) == [Why.LINE_TAKEN, None, Why.LINE_EMPTY, None]
        assert await members(store) == "b"

    async def test_an_execution_that_ends_as_it_starts_leaves_no_place(self, store: Store) -> None:
        done = head(1, "COMPLETED", ended_at=NOW + 1)
        await written(store, start(A, LeaveLine(LINE), CloseExecution(), head=done, claims=FIRST))
        assert await members(store) == ""
        await written(store, start(B, claims=FIRST))

    async def test_a_later_start_cancels_those_before_it(self, store: Store) -> None:
        first = await started(store, claims=FIRST)
        second, third = await written(store, start(B, claims=INSTEAD), start(C, claims=INSTEAD))
        assert (second.woken, third.woken) == ((A,), (A, B))
        assert await told(store, first) == [(InboxKind.CANCEL, "b"), (InboxKind.CANCEL, "c")]
        assert await told(store, second.key) == [(InboxKind.CANCEL, "c")]
        assert await told(store, third.key) == []
        assert await members(store) == "abc"

    async def test_a_lost_start_cancels_nobody(self, store: Store) -> None:
        key = await started(store, claims=FIRST)
        full = (LineClaim("trigger:t"), LineClaim(LINE, behind=True, cancels=True, length_max=1))
        assert (await lost(store, start(B, claims=full))).why is Why.LINE_FULL
        assert await told(store, key) == []

    async def test_the_end_drops_what_lines_have_told(self, store: Store) -> None:
        first = await started(store, claims=FIRST)
        second = await started(store, ref=B, claims=INSTEAD)
        await written(store, ended(first, A))
        assert await store.inbox(first, 10) == []
        assert await told(store, second) == [(InboxKind.RELEASE, "")]
        await written(store, ended(second, B))
        assert await store.dead_letters("acme", "", 0, 10) == []
        assert await store.inbox_executions(0, 10) == []

    async def test_a_line_that_was_never_joined_is_left_quietly(self, store: Store) -> None:
        await started(store, claims=FIRST)
        key = await started(store, ref=B)
        (committed,) = await written(store, ended(key, B))
        assert committed.woken == ()
        assert await members(store) == "a"

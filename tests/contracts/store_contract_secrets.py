"""What every store must do with sensitive values: keep them apart from the events, and erase them for good."""

import hashlib
from base64 import urlsafe_b64encode

import pytest
from tests.contracts.store_contract_retention import LONG, deletion, ended, long
from tests.contracts.store_kit import NOW, A, B, append, enqueue, event, head, lost, start, started, whys, written

from callboard.runtime.core.effects import CloseExecution
from callboard.runtime.ports import Store
from callboard.runtime.retention_rows import ExecutionPruning, LeftoverRemoval
from callboard.runtime.rows import Erasure, ExecutionAppend, ExecutionRef, RequeueLetter, SealedValue, Secrets
from callboard.runtime.writes import Committed, Why

KEY = b"k" * 32
OTHER_KEY = b"o" * 32
REDACTED = b'{"cents":"[redacted]"}'


def commitment(number: int) -> str:
    return urlsafe_b64encode(hashlib.sha256(b"%d" % number).digest()).decode().rstrip("=")


def sealed(*numbers: int, text: bytes = b"cipher") -> tuple[SealedValue, ...]:
    return tuple(SealedValue(commitment(number), text + b"-%d" % number) for number in numbers)


def secrets(*numbers: int, key: bytes = KEY) -> Secrets:
    return Secrets(key, sealed(*numbers))


def erasing(key: int, expected: int, *letters: tuple[int, bytes], ref: ExecutionRef = A) -> ExecutionAppend:
    done = head(expected + 1, "COMPLETED", ended_at=NOW)
    return append(key, expected, ref=ref, head=done, erases=Erasure(letters))


async def all_values(store: Store, key: int) -> list[SealedValue]:
    return await store.sealed_values(key, "", 1_000)


async def dead_letter(store: Store, ref: ExecutionRef = A) -> int:
    """An execution of two events that has ended before an event it was sent was processed."""
    key = await started(store, ref=ref, secrets=secrets(1))
    await written(store, enqueue(ref=ref))
    await written(store, append(key, 1, CloseExecution(), ref=ref, head=head(2, "FAILED", ended_at=NOW)))
    return key


class Sensitive:
    async def test_values_are_read_back_with_the_key_that_opens_them(self, store: Store) -> None:
        key = await started(store, secrets=secrets(1, 2))
        await written(store, append(key, 1, secrets=secrets(3, key=b"")))
        asked = [commitment(number) for number in (3, 9, 1, 3)]
        assert await store.secrets(key, asked) == Secrets(KEY, sealed(3, 1))
        assert await store.secrets(key, []) == Secrets(KEY)
        assert await store.secrets(key + 1, asked) == Secrets()
        assert await all_values(store, key + 1) == []

    async def test_each_execution_has_its_own(self, store: Store) -> None:
        first, second = await written(
            store, start(A, secrets=secrets(1, 2)), start(B, secrets=Secrets(OTHER_KEY, sealed(1, text=b"else")))
        )
        asked = [commitment(1), commitment(2)]
        assert await store.secrets(first.key, asked) == Secrets(KEY, sealed(1, 2))
        assert await store.secrets(second.key, asked) == Secrets(OTHER_KEY, sealed(1, text=b"else"))

    async def test_many_are_read_at_once(self, store: Store) -> None:
        numbers = range(300)
        key = await started(store, secrets=secrets(*numbers))
        read = await store.secrets(key, [commitment(number) for number in numbers])
        assert read == Secrets(KEY, sealed(*numbers))

    async def test_all_values_come_in_pages(self, store: Store) -> None:
        key = await started(store, secrets=secrets(*range(20)))
        await started(store, ref=B, secrets=secrets(*range(50, 60)))
        pages: list[SealedValue] = []
        while page := await store.sealed_values(key, pages[-1].commitment if pages else "", 7):
            assert len(page) <= 7
            pages += page
        assert pages == await all_values(store, key)
        assert sorted(each.commitment for each in pages) == sorted(commitment(number) for number in range(20))

    async def test_the_first_value_may_come_late(self, store: Store) -> None:
        key = await started(store)
        await written(store, append(key, 1), append(key, 2, secrets=secrets(1)), append(key, 3, secrets=Secrets()))
        assert await store.secrets(key, [commitment(1)]) == secrets(1)

    async def test_a_value_that_is_there_already_stays(self, store: Store) -> None:
        again = Secrets(values=sealed(1, 2, 2, text=b"again"))
        key = await started(store, secrets=secrets(1))
        await written(store, append(key, 1, secrets=again), append(key, 2, secrets=again))
        read = await store.secrets(key, [commitment(1), commitment(2)])
        assert read.values == (*sealed(1), *sealed(2, text=b"again"))

    async def test_an_execution_has_one_key(self, store: Store) -> None:
        key = await started(store, secrets=secrets(1))
        refused = await lost(store, append(key, 1, secrets=Secrets(OTHER_KEY, sealed(2))))
        assert refused.why is Why.ROW
        second = await started(store, ref=B)
        twice = [append(second, number, ref=B, secrets=secrets(number)) for number in (1, 2)]
        assert whys(await store.write(twice)) == [None, Why.ROW]
        assert await store.secrets(key, [commitment(2)]) == Secrets(KEY)
        assert len(await store.events(key, 0, 9, 999)) == 1

    async def test_there_is_no_value_without_a_key(self, store: Store) -> None:
        key = await started(store)
        assert (await lost(store, append(key, 1, secrets=secrets(1, key=b"")))).why is Why.ROW
        assert (await lost(store, start(B, secrets=secrets(1, key=b"")))).why is Why.ROW
        assert await store.execution(B) is None
        assert await all_values(store, key) == []

    @pytest.mark.parametrize("text", ["", "short", commitment(1) + "A", commitment(1)[:-1] + "B", "ü" * 43])
    async def test_what_is_no_commitment_is_not_stored_and_not_found(self, store: Store, text: str) -> None:
        key = await started(store, secrets=secrets(1))
        wrong = Secrets(values=(SealedValue(text, b"cipher"),))
        assert (await lost(store, append(key, 1, secrets=wrong))).why is Why.ROW
        assert await store.secrets(key, [text, commitment(1)]) == secrets(1)

    async def test_what_belongs_to_a_write_that_is_lost_is_not_stored(self, store: Store) -> None:
        key = await started(store)
        outcomes = await store.write(
            [append(key, 7, secrets=secrets(1)), start(A, secrets=secrets(2)), append(key, 1, secrets=secrets(3))]
        )
        assert whys(outcomes) == [Why.SEQUENCE, Why.EXISTS, None]
        assert await all_values(store, key) == list(sealed(3))

    # -- erasing

    async def test_an_erasure_takes_the_key_and_all_values_and_leaves_the_history(self, store: Store) -> None:
        key = await started(store, secrets=secrets(*range(100)))
        other = await started(store, ref=B, secrets=secrets(1))
        before = await store.events(key, 0, 9, 999)
        await written(store, erasing(key, 1))
        assert await store.secrets(key, [commitment(1)]) == Secrets()
        assert await all_values(store, key) == []
        assert (await store.events(key, 0, 9, 999))[:1] == before
        assert await store.secrets(other, [commitment(1)]) == secrets(1)

    async def test_an_erasure_takes_what_was_sealed_in_the_same_commit(self, store: Store) -> None:
        key = await started(store)
        sealing_too = erasing(key, 2)
        sealing_too = append(
            key, 2, head=sealing_too.head, erases=Erasure(), secrets=Secrets(values=sealed(2))
        )  # within one turn
        await written(store, append(key, 1, secrets=secrets(1)), sealing_too)
        assert await store.secrets(key, [commitment(1), commitment(2)]) == Secrets()
        assert await all_values(store, key) == []

    async def test_erasing_again_or_nothing_is_harmless(self, store: Store) -> None:
        key = await started(store)
        await written(store, erasing(key, 1))
        await written(store, erasing(key, 2), erasing(key, 3))
        assert await store.secrets(key, []) == Secrets()

    async def test_an_erasure_that_is_lost_erases_nothing(self, store: Store) -> None:
        key = await dead_letter(store)
        (letter,) = await store.dead_letters("acme", "", 0, 9)
        assert (await lost(store, erasing(key, 7, (letter.id, REDACTED)))).why is Why.SEQUENCE
        assert await store.secrets(key, [commitment(1)]) == secrets(1)
        assert await store.dead_letters("acme", "", 0, 9) == [letter]

    async def test_dead_letters_of_the_execution_get_other_payloads(self, store: Store) -> None:
        key, _ = await dead_letter(store), await dead_letter(store, B)
        mine, theirs = await store.dead_letters("acme", "", 0, 9)
        await written(store, erasing(key, 2, *((number, REDACTED) for number in (mine.id, theirs.id, 99))))
        after = await store.dead_letters("acme", "", 0, 9)
        assert [letter.payload for letter in after] == [REDACTED, theirs.payload]
        assert [(letter.id, letter.event_id, letter.cause) for letter in after] == [
            (letter.id, letter.event_id, letter.cause) for letter in (mine, theirs)
        ]

    async def test_a_dead_letter_that_is_given_again_after_the_erasure_is_the_other_one(self, store: Store) -> None:
        key = await dead_letter(store)
        (letter,) = await store.dead_letters("acme", "", 0, 9)
        reopened = append(key, 3, head=head(4, "RUNNING"))
        await written(store, erasing(key, 2, (letter.id, REDACTED)), reopened)
        await written(store, RequeueLetter("acme", letter.id, NOW))
        assert [row.payload for row in await store.inbox(key, 9)] == [REDACTED]

    async def test_after_an_erasure_there_may_be_a_new_key(self, store: Store) -> None:
        key = await started(store, secrets=secrets(1))
        new = Secrets(OTHER_KEY, sealed(2))
        await written(store, erasing(key, 1), append(key, 2, secrets=new))
        assert await store.secrets(key, [commitment(1), commitment(2)]) == new
        assert (await lost(store, append(key, 3, secrets=secrets(3)))).why is Why.ROW

    # -- executions that go

    async def test_a_deletion_takes_the_secrets_along(self, store: Store) -> None:
        key = await started(store, secrets=secrets(1, 2))
        await written(store, append(key, 1, CloseExecution(), head=head(2, "FAILED", ended_at=NOW)))
        gone, new = await store.write([deletion(), start(secrets=Secrets(OTHER_KEY, sealed(1, text=b"new")))])
        assert isinstance(gone, Committed) and isinstance(new, Committed)
        assert await store.secrets(key, [commitment(1)]) == Secrets()
        assert await all_values(store, key) == []
        assert await store.secrets(new.key, [commitment(1)]) == Secrets(OTHER_KEY, sealed(1, text=b"new"))

    async def test_a_pruning_takes_the_secrets_along(self, store: Store) -> None:
        keys = [await ended(store, ref) for ref in (A, B)]
        for key, ref in zip(keys, (A, B), strict=True):
            done = head(3, "COMPLETED", ended_at=NOW)
            await written(store, append(key, 2, ref=ref, head=done, secrets=secrets(key)))
        await written(store, ExecutionPruning("acme", (keys[0],), NOW))
        assert [await all_values(store, key) for key in keys] == [[], list(sealed(keys[1]))]

    @pytest.mark.parametrize("limit", [100, 5_000])
    async def test_values_of_a_long_history_go_with_it_bit_by_bit(self, store: Store, limit: int) -> None:
        key, running = await long(store), await started(store, ref=B, secrets=secrets(1))
        done = head(LONG + 1, "FAILED", ended_at=NOW)
        await written(store, append(key, LONG, head=done, secrets=secrets(*range(250))))
        await written(store, deletion())
        assert await store.secrets(key, [commitment(1)]) == Secrets()
        while await store.leftovers(9):
            await written(store, LeftoverRemoval(key, limit))
        assert await all_values(store, key) == []
        await written(store, LeftoverRemoval(running, limit))
        assert await store.secrets(running, [commitment(1)]) == secrets(1)
        assert [each.sequence for each in await store.events(running, 0, 9, 999)] == [event(1).sequence]

"""The vault of an execution: what is sealed opens again, is bound by its commitment, and is gone with the key."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.engine_kit import ME, engine

from callboard.runtime.clock import ManualIds
from callboard.runtime.core.sealing import ErasedError
from callboard.runtime.core.values import REDACTED, Sealed, decode, encode, redacted, redacted_json, sealed_in
from callboard.runtime.requests import StartRequest
from callboard.runtime.rows import ExecutionRef, SealedValue, Secrets
from callboard.runtime.vaults import ROOM_BYTES, ExecutionVault, load_vault, revealed_json, unbox

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


TIMES = 12
OVERWRITING = """
id: overwriting
event_schemas: {next: {properties: {v: {type: string, sensitive: true}}}}
steps:
  - id: many
    foreach:
      items: input.n
      max_concurrency: 1
      collect: "null"
      steps:
        - {id: got, receive: {event: next}, output: "${result.payload.v}"}
        - {id: kept, set: {x: "${steps.got.result}"}, output: "null"}
  - {id: last, receive: {event: end}}
output: "null"
"""


class Table:
    """The side table of one execution."""

    def __init__(self, stored: Secrets) -> None:
        self.stored = stored

    async def secrets(self, key: int, commitments: Sequence[str]) -> Secrets:
        """What there is of these."""
        values = tuple(one for one in self.stored.values if one.commitment in commitments)
        return Secrets(self.stored.key, values)


def vault_with(*values: object) -> tuple[ExecutionVault, list[Sealed], Secrets]:
    vault = ExecutionVault(ManualIds().random_bytes)
    sealed = [vault.seal(value) for value in values]  # type: ignore[arg-type]
    unwritten = vault.unwritten()
    assert unwritten is not None
    vault.written()
    return vault, sealed, unwritten


@given(VALUES)
def test_what_is_sealed_opens_and_is_told_by_nothing_stored(value: object) -> None:
    vault, (sealed,), rows = vault_with(value)
    assert vault.open(sealed) == value
    assert redacted({"a": [sealed]}) == {"a": [REDACTED]}
    assert decode(encode({"a": sealed})) == {"a": sealed}
    assert sealed_in(encode({"a": [sealed, sealed]})) == [sealed.commitment]
    assert rows.key
    assert all(len(text) < 3 or text.encode() not in rows.values[0].ciphertext for text in [encode(value).decode()])  # type: ignore[arg-type]


def test_equal_values_have_commitments_of_their_own() -> None:
    _, sealed, rows = vault_with("yes", "yes")
    assert sealed[0] != sealed[1]
    assert len({one.ciphertext for one in rows.values}) == 2


def test_a_container_with_sealed_values_is_sealed_as_a_whole() -> None:
    vault, (inner,), _ = vault_with("4111")
    assert vault.open(vault.seal({"card": inner, "n": 1})) == {"card": "4111", "n": 1}


def test_only_what_is_new_is_written() -> None:
    vault, _, first = vault_with("a")
    assert vault.unwritten() is None
    vault.seal("b")
    second = vault.unwritten()
    assert second is not None
    assert first.key and not second.key, "the key is written once"
    assert len(second.values) == 1
    assert vault.unwritten() == second, "until it is said to be written"


async def test_a_stored_vault_opens_what_it_was_given_and_goes_on_under_its_key() -> None:
    _, (one, two), rows = vault_with("a", "b")
    vault = await load_vault(Table(rows), 7, [one.commitment], ManualIds("other-").random_bytes)
    assert vault.open(one) == "a"
    with pytest.raises(ErasedError):
        vault.open(two)
    vault.add(rows)
    assert vault.open(two) == "b"
    vault.seal("c")
    fresh = vault.unwritten()
    assert fresh is not None and not fresh.key
    assert unbox(rows.key, fresh.values[0].commitment, fresh.values[0].ciphertext)[32:] == b'"c"'
    vault.keep([two.commitment])
    with pytest.raises(ErasedError):
        vault.open(one)
    assert vault.open(two) == "b" and vault.unwritten() == fresh


def test_a_value_has_a_size_without_being_opened() -> None:
    vault, (short, long), _ = vault_with("", {"a": ["é" * 500]})
    assert (vault.size(short), vault.size(long)) == (2, len(encode({"a": ["é" * 500]})))
    assert vault.size(Sealed("unknown")) == 0


def test_a_vault_says_when_it_has_much_that_may_be_of_no_use() -> None:
    vault, (kept,), _ = vault_with("x" * ROOM_BYTES)
    assert vault.crowded
    vault.keep([kept.commitment])
    assert not vault.crowded
    vault.seal("y" * ROOM_BYTES)
    vault.drop(0)
    vault.seal("z" * ROOM_BYTES)
    assert not vault.crowded, "what was dropped does not count"
    vault.seal("z" * ROOM_BYTES)
    assert vault.crowded


async def test_an_execution_has_in_memory_what_it_may_still_use() -> None:
    """Its variable is written over for as long as it lives, and the end ends it all."""
    async with engine() as runtime:
        await runtime.publish(OVERWRITING)
        await runtime.start(ME, StartRequest("overwriting", execution_id="x-1", input={"n": [0] * TIMES}))
        for number in range(TIMES):
            await runtime.submit(ME, "x-1", "next", {"v": f"{number:06}" * (ROOM_BYTES // 12)})
        actor = runtime.supervisor._actors[ExecutionRef("default", "x-1")]
        assert actor.vault is not None and actor.state is not None
        events = await runtime.store.stored_events(actor.key, 0, 1_000, 1 << 30)
        sealed = {commitment for event in events for commitment in sealed_in(event.payload)}
        sizes = [actor.vault.size(Sealed(commitment)) for commitment in sealed]
        assert len(sealed) == TIMES and sum(sizes) < 4 * ROOM_BYTES
        assert actor.vault.open(actor.state.variables["x"]) == f"{TIMES - 1:06}" * (ROOM_BYTES // 12)
        await runtime.submit(ME, "x-1", "end")
        assert actor.vault is None
        assert not (await runtime.histories.verify(ME, "x-1")).problems


async def test_without_its_key_nothing_opens() -> None:
    _, (sealed,), rows = vault_with("a")
    erased = await load_vault(Table(Secrets(b"", rows.values)), 7, [sealed.commitment], ManualIds().random_bytes)
    with pytest.raises(ErasedError):
        erased.open(sealed)
    with pytest.raises(ErasedError):
        erased.copied([sealed.commitment])


@pytest.mark.parametrize("place", [0, 12, 40, -1])
async def test_a_box_that_was_changed_does_not_open(place: int) -> None:
    _, (sealed,), rows = vault_with("a")
    box = bytearray(rows.values[0].ciphertext)
    box[place] ^= 1
    changed = Secrets(rows.key, (SealedValue(sealed.commitment, bytes(box)),))
    vault = await load_vault(Table(changed), 7, [sealed.commitment], ManualIds().random_bytes)
    with pytest.raises(ErasedError):
        vault.open(sealed)


def test_a_box_under_another_commitment_does_not_open() -> None:
    _, (one, two), rows = vault_with("a", "b")
    boxes = {value.commitment: value.ciphertext for value in rows.values}
    with pytest.raises(ErasedError):
        unbox(rows.key, one.commitment, boxes[two.commitment])


def test_a_copy_has_a_key_of_its_own_and_the_same_commitments() -> None:
    vault, (one, two), rows = vault_with("a", "b")
    copy = vault.copied([two.commitment])
    written = copy.unwritten()
    assert written is not None
    assert written.key and written.key != rows.key
    assert copy.open(two) == "b"
    with pytest.raises(ErasedError):
        copy.open(one)


async def test_a_worker_gets_stored_json_in_the_clear() -> None:
    _, (sealed,), rows = vault_with({"name": "Ann"})
    stored = encode({"path": "s", "input": {"who": sealed, "n": 1}})
    assert decode(await revealed_json(Table(rows), 7, stored)) == {
        "path": "s",
        "input": {"who": {"name": "Ann"}, "n": 1},
    }
    assert decode(redacted_json(stored)) == {"path": "s", "input": {"who": REDACTED, "n": 1}}
    with pytest.raises(ErasedError):
        await revealed_json(Table(Secrets()), 7, stored)
    plain = encode({"input": 1})
    assert await revealed_json(Table(Secrets()), 7, plain) is plain

"""The chains of the lifecycle, each put together as it is in the program, and used as a caller uses them."""

from collections.abc import Awaitable, Callable

from callboard.runtime.core.lifecycle import Decision
from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle import (
    batching,
    deleting,
    drafting,
    importing,
    pausing,
    publishing,
    retracting,
    reverting,
)
from callboard.runtime.lifecycle.chain import Chain, Ran, first
from callboard.runtime.lifecycle.each import AllDecided, Each, for_each
from callboard.runtime.lifecycle.extensions import UserStage, extended
from callboard.runtime.lifecycle.publishing import compile_content
from callboard.runtime.lifecycle.recording import Announced, Ending, Recorded

load_retract: Callable[[retracting.Retract], Awaitable[retracting.Loaded]]
decide_retract: Callable[[retracting.Loaded], retracting.Decided]
load_draft: Callable[[drafting.PutDraft], Awaitable[drafting.Loaded]]
validate_draft: Callable[[drafting.Loaded], drafting.Validated]
decide_draft: Callable[[drafting.Validated], drafting.Decided]
load_delete: Callable[[deleting.Delete], Awaitable[deleting.Loaded]]
decide_delete: Callable[[deleting.Loaded], deleting.Decided]
load_pause: Callable[[pausing.PauseTrigger], Awaitable[pausing.Loaded]]
decide_pause: Callable[[pausing.Loaded], pausing.Decided]
load_revert: Callable[[reverting.Revert], Awaitable[publishing.Loaded]]
load_batch: Callable[[batching.PublishBatch], Awaitable[Each[publishing.Loaded]]]
read_import: Callable[[importing.Import], Awaitable[Each[publishing.Publish]]]


def put_together(ending: Ending, publish: publishing.Publishing, batch: batching.Batching) -> None:
    publish_chain: Chain[publishing.Publish, Announced[publishing.Decided]] = (
        first("load", publish.load)
        .map("validate", publish.validate)
        .map("compile", compile_content)
        .map("decide", publish.decide)
        .commit("record", ending.record)
        .then("invalidate", ending.invalidate)
        .then("announce", ending.announce)
    )
    revert_chain: Chain[reverting.Revert, Announced[publishing.Decided]] = (
        first("load", load_revert)
        .map("validate", publish.validate)
        .map("compile", compile_content)
        .map("decide", publish.decide)
        .commit("record", ending.record)
        .then("invalidate", ending.invalidate)
        .then("announce", ending.announce)
    )
    batch_chain: Chain[batching.PublishBatch, Announced[AllDecided[publishing.Decided]]] = (
        first("load", load_batch)
        .then("validate", batch.validate)
        .then("compile", for_each(compile_content))
        .then("decide", batch.decide)
        .commit("record", ending.record)
        .then("invalidate", ending.invalidate)
        .then("announce", ending.announce)
    )
    import_chain: Chain[importing.Import, Announced[AllDecided[publishing.Decided]]] = (
        first("read", read_import)
        .then("load", batch.load)
        .then("validate", batch.validate)
        .then("compile", for_each(compile_content))
        .then("decide", batch.decide)
        .commit("record", ending.record)
        .then("invalidate", ending.invalidate)
        .then("announce", ending.announce)
    )
    draft_chain: Chain[drafting.PutDraft, Announced[drafting.Decided]] = (
        first("load", load_draft)
        .map("validate", validate_draft)
        .map("decide", decide_draft)
        .commit("record", ending.record)
        .then("invalidate", ending.invalidate)
        .then("announce", ending.announce)
    )
    retract_chain: Chain[retracting.Retract, Announced[retracting.Decided]] = (
        first("load", load_retract)
        .map("decide", decide_retract)
        .commit("record", ending.record)
        .then("invalidate", ending.invalidate)
        .then("announce", ending.announce)
    )
    delete_chain: Chain[deleting.Delete, Announced[deleting.Decided]] = (
        first("load", load_delete)
        .map("decide", decide_delete)
        .commit("record", ending.record)
        .then("invalidate", ending.invalidate)
        .then("announce", ending.announce)
    )
    pause_chain: Chain[pausing.PauseTrigger, Announced[pausing.Decided]] = (
        first("load", load_pause)
        .map("decide", decide_pause)
        .commit("record", ending.record)
        .then("invalidate", ending.invalidate)
        .then("announce", ending.announce)
    )
    print(publish_chain, revert_chain, batch_chain, import_chain, draft_chain, retract_chain, delete_chain, pause_chain)


async def use(runtime: Runtime, command: publishing.Publish) -> int:
    chain: Chain[publishing.Publish, Announced[publishing.Decided]] = runtime.publishing.chain
    ran: Ran[Announced[publishing.Decided]] = await chain.run(command)
    recorded: Recorded[publishing.Decided] = ran.value.recorded
    decision: Decision = recorded.decided.decision
    answer: publishing.PublishAnswer = await runtime.publishing.publish(command)
    longer: Chain[publishing.Publish, Announced[publishing.Decided]] = extended(
        chain, "publish", [UserStage("publish", "validate", True, "policy", print)], runtime.clock
    )
    return decision.impact.version + answer.version + len(longer.stages)

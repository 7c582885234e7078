"""Every chain of the lifecycle, put together wrongly: a stage skipped, two swapped, too few, and awaits forgotten."""

from collections.abc import Awaitable, Callable

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
from callboard.runtime.lifecycle.chain import Chain, first
from callboard.runtime.lifecycle.each import AllDecided, Each, for_each
from callboard.runtime.lifecycle.publishing import compile_content
from callboard.runtime.lifecycle.recording import Announced, Ending

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


def publish_chain(publish: publishing.Publishing, ending: Ending) -> None:
    loaded = first("load", publish.load)
    validated = loaded.map("validate", publish.validate)
    compiled = validated.map("compile", compile_content)
    decided = compiled.map("decide", publish.decide)
    recorded = decided.commit("record", ending.record)
    invalidated = recorded.then("invalidate", ending.invalidate)
    loaded.map("compile", compile_content)  # error
    validated.map("decide", publish.decide)  # error
    compiled.commit("record", ending.record)  # error
    decided.then("invalidate", ending.invalidate)  # error
    recorded.then("announce", ending.announce)  # error
    first("load", publish.load).map("compile", compile_content)  # error
    compiled.map("validate", publish.validate)  # error
    unfinished: Chain[publishing.Publish, Announced[publishing.Decided]] = invalidated  # error
    print(unfinished)


def revert_chain(publish: publishing.Publishing, ending: Ending) -> None:
    loaded = first("load", load_revert)
    compiled = loaded.map("validate", publish.validate).map("compile", compile_content)
    decided = compiled.map("decide", publish.decide)
    loaded.map("decide", publish.decide)  # error
    compiled.map("validate", publish.validate)  # error
    compiled.commit("record", ending.record)  # error
    unfinished: Chain[reverting.Revert, Announced[publishing.Decided]] = decided  # error
    print(unfinished)


def batch_chain(batch: batching.Batching, ending: Ending) -> None:
    loaded = first("load", load_batch)
    compiled = loaded.then("validate", batch.validate).then("compile", for_each(compile_content))
    recorded = compiled.then("decide", batch.decide).commit("record", ending.record)
    loaded.then("compile", for_each(compile_content))  # error
    loaded.then("validate", batch.validate).map("compile", compile_content)  # error
    compiled.then("validate", batch.validate)  # error
    compiled.commit("record", ending.record)  # error
    unfinished: Chain[batching.PublishBatch, Announced[AllDecided[publishing.Decided]]] = recorded  # error
    print(unfinished)


def import_chain(batch: batching.Batching, ending: Ending) -> None:
    read = first("read", read_import)
    loaded = read.then("load", batch.load)
    read.then("validate", batch.validate)  # error
    loaded.map("read", read_import)  # error
    first("load", batch.load).map("read", read_import)  # error
    loaded.commit("record", ending.record)  # error
    unfinished: Chain[importing.Import, Announced[AllDecided[publishing.Decided]]] = loaded  # error
    print(unfinished)


def draft_chain(ending: Ending) -> None:
    loaded = first("load", load_draft)
    decided = loaded.map("validate", validate_draft).map("decide", decide_draft)
    loaded.map("decide", decide_draft)  # error
    decided.map("validate", validate_draft)  # error
    loaded.commit("record", ending.record)  # error
    decided.then("announce", ending.announce)  # error
    unfinished: Chain[drafting.PutDraft, Announced[drafting.Decided]] = decided  # error
    print(unfinished)


def retract_chain(ending: Ending) -> None:
    loaded = first("load", load_retract)
    decided = loaded.map("decide", decide_retract)
    loaded.commit("record", ending.record)  # error
    decided.then("invalidate", ending.invalidate)  # error
    decided.map("decide", decide_retract)  # error
    loaded.map("decide", decide_delete)  # error
    unfinished: Chain[retracting.Retract, Announced[retracting.Decided]] = decided  # error
    print(unfinished)


def delete_chain(ending: Ending) -> None:
    loaded = first("load", load_delete)
    decided = loaded.map("decide", decide_delete)
    loaded.commit("record", ending.record)  # error
    decided.then("invalidate", ending.invalidate)  # error
    decided.commit("record", ending.record).then("announce", ending.announce)  # error
    loaded.map("decide", decide_retract)  # error
    unfinished: Chain[deleting.Delete, Announced[deleting.Decided]] = decided  # error
    print(unfinished)


def pause_chain(ending: Ending) -> None:
    loaded = first("load", load_pause)
    decided = loaded.map("decide", decide_pause)
    loaded.commit("record", ending.record)  # error
    decided.then("announce", ending.announce)  # error
    decided.map("decide", decide_pause)  # error
    unfinished: Chain[pausing.PauseTrigger, Announced[pausing.Decided]] = decided  # error
    print(unfinished)


async def forgotten_awaits(
    runtime: Runtime,
    publish: publishing.Publish,
    batch: batching.PublishBatch,
    bundle: importing.Import,
    draft: drafting.PutDraft,
    delete: deleting.Delete,
    pause: pausing.PauseTrigger,
    retract: retracting.Retract,
    revert: reverting.Revert,
) -> None:
    runtime.publishing.publish(publish)  # error
    runtime.batching.publish(batch).revision  # error
    runtime.importing.import_bundle(bundle)  # error
    runtime.drafting.put(draft)  # error
    runtime.deleting.delete(delete).job_id  # error
    runtime.pausing.pause(pause)  # error
    runtime.retracting.retract(retract)  # error
    runtime.reverting.revert(revert).version  # error
    runtime.publishing.chain.run(publish)  # error
    await runtime.publishing.chain.run(retract)  # error
    first("load", runtime.publishing.load).map("validate", load_revert)  # error

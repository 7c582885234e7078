"""Every limit and default of the engine, in one place, each with its unit in its name.

They stand in `GetServerInfo` and in the README's reference; over a limit the answer names it and gives the number.
"""

from __future__ import annotations

import msgspec

from .core.turn import Limits


class Settings(msgspec.Struct, frozen=True):
    """The frozen settings of one engine."""

    decisions: Limits = Limits()
    turn_commands_max: int = 256
    """Commands that one turn of an actor takes from its mailbox."""
    mailbox_commands_max: int = 1_024
    """Commands that may wait for one execution."""
    live_actors_max: int = 10_000
    """Executions held in memory; beyond it, idle ones go to sleep, least recently used first."""
    activations_max: int = 64
    """Executions being read from the store at one time."""
    payload_bytes_max: int = 1_048_576
    """Bytes of one input, event payload or task output."""
    labels_max: int = 32
    """Labels of one execution."""
    label_bytes_max: int = 256
    """Bytes of one label's name or value."""
    open_steps_max: int = 1_000
    """Open steps that a FULL view shows."""
    page_items_max: int = 1_000
    """Items of one page; a larger page_size means this."""
    page_bytes_max: int = 3_145_728
    """Bytes of one page of history."""
    wait_seconds_max: int = 60
    """Longest wait of one call, for an end or for a revision."""
    snapshot_events_min: int = 200
    """Events since the last snapshot before another is taken."""
    sleep_tail_events_min: int = 50
    """Events since the last snapshot that are worth one when an execution goes to sleep."""
    inbox_retry_seconds: float = 1.0
    """Pause before an execution's accepted events are offered again, where they could not be taken."""
    request_ids_seconds: int = 86_400
    """How long a request id is remembered."""
    fork_bytes_max: int = 67_108_864
    """Bytes of the state and of the open tasks' inputs that a fork or an import takes over."""
    import_line_bytes_max: int = 134_217_728
    """Bytes of one line of an exported history that is taken in."""
    watchers_max: int = 1_000
    """Watches open at one time."""
    feed_scan_events_max: int = 4_096
    """Events of all tenants that one read of a tenant's feed looks at."""
    feed_frame_seconds: int = 5
    """How often a watch of a tenant tells how far it is while nothing for it happens."""
    subscriptions_max: int = 100
    """Durable subscriptions of one tenant."""
    waiting_calls_max: int = 20_000
    """Calls that wait for the end of an execution at one time."""
    stage_seconds_max: int = 30
    """How long one call of a user's stage in a lifecycle chain may take."""
    plans_cached_max: int = 1_000
    """Compiled definition versions in the cache."""
    plans_cached_seconds: int = 600
    """How long a compiled version stays cached."""
    event_ids_seconds: int = 604_800
    """How long the id of a published event is remembered."""
    event_offers_max: int = 1_000
    """Waiting steps that a published event is offered to at once; a job offers it to the rest."""
    event_triggers_max: int = 100
    """Triggers that may listen to one event name in a tenant."""
    slots_waiting_max: int = 100
    """Executions of one schedule that may wait for the one before them (`overlap: QUEUE`)."""
    schedule_lateness_seconds: int = 10
    """How late a slot may fire without `catch_up`."""
    jobs_kept_seconds: int = 604_800
    """How long a job may be read after its end."""
    prune_batch_max: int = 50
    """Executions that are pruned in one transaction."""
    prune_wait_seconds: int = 86_400
    """How long pruning waits for durable subscriptions that have not acknowledged an execution's events."""

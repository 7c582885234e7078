-- Triggers, published events, lines and background jobs; what a definition's deletion and its paused triggers come to.

ALTER TABLE definitions ADD COLUMN state TEXT NOT NULL DEFAULT '';
-- JSON arrays: of version numbers, of trigger ids.
ALTER TABLE definitions ADD COLUMN gone TEXT NOT NULL DEFAULT '[]';
ALTER TABLE definitions ADD COLUMN paused TEXT NOT NULL DEFAULT '[]';

-- What happened in a whole tenant, in the order of its revisions.
CREATE INDEX definition_events_by_revision ON definition_events (tenant, revision, definition_id, sequence);

ALTER TABLE inbox ADD COLUMN path TEXT NOT NULL DEFAULT '';
ALTER TABLE inbox ADD COLUMN published_id TEXT NOT NULL DEFAULT '';
-- Few rows at any time: found behind any number of events that cannot be taken yet.
CREATE INDEX inbox_beside_events ON inbox (execution) WHERE kind <> 'event';

-- A dead letter that is put back becomes what it was. The event id of an offer is the published event's.
ALTER TABLE dead_letters ADD COLUMN kind TEXT NOT NULL DEFAULT 'event';
ALTER TABLE dead_letters ADD COLUMN path TEXT NOT NULL DEFAULT '';

-- Takes the place of one over the shard: as many entries, written at the same moments, and it also answers what is open
-- of one definition or version. Ends in the key (the rowid), so that a page is a walk along the index.
DROP INDEX executions_open;
CREATE INDEX executions_open ON executions (tenant, definition_id, version) WHERE ended_at = 0;

-- A trigger stays, inactive, when its definition no longer has it.
CREATE TABLE triggers (
    tenant            TEXT NOT NULL,
    definition_id     TEXT NOT NULL,
    trigger_id        TEXT NOT NULL,
    version           INTEGER NOT NULL,
    event_name        TEXT NOT NULL,
    identity          TEXT NOT NULL,
    active            INTEGER NOT NULL,
    paused            INTEGER NOT NULL,
    spec              BLOB NOT NULL,
    next_slot         INTEGER NOT NULL,
    due               INTEGER NOT NULL,
    last_slot         INTEGER NOT NULL,
    last_execution_id TEXT NOT NULL,
    last_started_at   INTEGER NOT NULL,
    skipped           INTEGER NOT NULL,
    last_skipped      INTEGER NOT NULL,
    PRIMARY KEY (tenant, definition_id, trigger_id)
) WITHOUT ROWID;
CREATE INDEX triggers_by_due ON triggers (due) WHERE active = 1 AND paused = 0 AND due > 0;
CREATE INDEX triggers_by_event ON triggers (tenant, event_name) WHERE active = 1 AND event_name <> '';

-- The revision of the last change to what listens to an event.
CREATE TABLE listener_revisions (
    tenant     TEXT NOT NULL,
    event_name TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    PRIMARY KEY (tenant, event_name)
) WITHOUT ROWID;

-- `receive` steps that wait for published events; ids grow in the order in which the waits began.
CREATE TABLE waits (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant    TEXT NOT NULL,
    name      TEXT NOT NULL,
    key       TEXT NOT NULL,
    execution INTEGER NOT NULL,
    path      TEXT NOT NULL
);
-- Ends in the id (the rowid).
CREATE INDEX waits_by_key ON waits (tenant, name, key);
CREATE INDEX waits_by_step ON waits (execution, path);

-- Emitted events on their way to being accepted.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    execution  INTEGER NOT NULL,
    shard      INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    name       TEXT NOT NULL,
    event_key  TEXT NOT NULL,
    payload    TEXT NOT NULL,
    context    TEXT NOT NULL,
    created_at INTEGER NOT NULL
);

-- Ids grow in the order of writing and every event id is kept equally long, so the oldest are the first to expire.
CREATE TABLE published_events (
    id         INTEGER PRIMARY KEY,
    tenant     TEXT NOT NULL,
    event_id   TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX published_events_by_id ON published_events (tenant, event_id);

-- Only an execution's start puts it in a line, and keys grow: the order of the keys is that of the line.
CREATE TABLE lines (
    tenant        TEXT NOT NULL,
    definition_id TEXT NOT NULL,
    line          TEXT NOT NULL,
    execution     INTEGER NOT NULL,
    PRIMARY KEY (tenant, definition_id, line, execution)
) WITHOUT ROWID;

CREATE TABLE jobs (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT NOT NULL,
    job_id     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL,
    target     TEXT NOT NULL,
    cursor     TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    total      INTEGER NOT NULL,
    done       INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    failures   TEXT NOT NULL,
    message    TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL
);
CREATE UNIQUE INDEX jobs_by_id ON jobs (tenant, job_id);
-- Ends in the number (the rowid).
CREATE INDEX jobs_by_tenant ON jobs (tenant);
CREATE INDEX jobs_open ON jobs (number) WHERE state = 'RUNNING';
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at > 0;

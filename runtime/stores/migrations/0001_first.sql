-- Times are microseconds since the epoch. JSON is stored as TEXT, hashes as BLOB. Other tables name an execution by
-- its integer key. `shard` is a fixed hash of tenant and execution id modulo 1024: what several nodes will divide.

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

-- The listing projection. Its hot columns (state, sequence, hash, updated_at) stand in no index, so that a step
-- rewrites one row and no index entry.
CREATE TABLE executions (
    key           INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant        TEXT NOT NULL,
    execution_id  TEXT NOT NULL,
    shard         INTEGER NOT NULL,
    definition_id TEXT NOT NULL,
    version       INTEGER NOT NULL,
    labels        TEXT NOT NULL,
    status        TEXT NOT NULL,
    state         TEXT NOT NULL,
    sequence      INTEGER NOT NULL,
    hash          BLOB NOT NULL,
    started_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    ended_at      INTEGER NOT NULL,
    incidents     INTEGER NOT NULL
);
CREATE UNIQUE INDEX executions_by_id ON executions (tenant, execution_id);
-- Ends in the key (the rowid), so that a page of one status is a walk along the index.
CREATE INDEX executions_by_status ON executions (tenant, status);
-- For counting what has not ended; changes at a start and at an end only.
CREATE INDEX executions_open ON executions (shard) WHERE ended_at = 0;

-- Written at the start and when the labels change; a listing by label starts here.
CREATE TABLE labels (
    tenant    TEXT NOT NULL,
    name      TEXT NOT NULL,
    value     TEXT NOT NULL,
    execution INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, value, execution)
) WITHOUT ROWID;

-- Insert-only.
CREATE TABLE events (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    execution  INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    name       TEXT NOT NULL,
    payload    TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    to_state   TEXT,
    event_id   TEXT,
    context    TEXT
);
CREATE UNIQUE INDEX events_by_sequence ON events (execution, sequence);
CREATE UNIQUE INDEX events_by_event_id ON events (execution, event_id) WHERE event_id IS NOT NULL;

CREATE TABLE snapshots (
    execution INTEGER NOT NULL,
    sequence  INTEGER NOT NULL,
    format    INTEGER NOT NULL,
    checksum  BLOB NOT NULL,
    data      BLOB NOT NULL,
    PRIMARY KEY (execution, sequence)
);

CREATE TABLE open_tasks (
    execution        INTEGER NOT NULL,
    path             TEXT NOT NULL,
    shard            INTEGER NOT NULL,
    operation        TEXT NOT NULL,
    attempt          INTEGER NOT NULL,
    scheduled        INTEGER NOT NULL,
    priority         INTEGER NOT NULL,
    attempt_timeout  INTEGER NOT NULL,
    since            INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    PRIMARY KEY (execution, path)
) WITHOUT ROWID;

CREATE TABLE timers (
    execution INTEGER NOT NULL,
    path      TEXT NOT NULL,
    timer     TEXT NOT NULL,
    shard     INTEGER NOT NULL,
    due       INTEGER NOT NULL,
    PRIMARY KEY (execution, path, timer)
) WITHOUT ROWID;
CREATE INDEX timers_by_due ON timers (due);

CREATE TABLE inbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    execution   INTEGER NOT NULL,
    shard       INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    name        TEXT NOT NULL,
    payload     TEXT NOT NULL,
    context     TEXT NOT NULL,
    accepted_at INTEGER NOT NULL
);
CREATE INDEX inbox_by_execution ON inbox (execution);
CREATE UNIQUE INDEX inbox_by_event_id ON inbox (execution, event_id) WHERE event_id <> '';

CREATE TABLE dead_letters (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      TEXT NOT NULL,
    execution   INTEGER NOT NULL,
    event_id    TEXT NOT NULL,
    name        TEXT NOT NULL,
    payload     TEXT NOT NULL,
    context     TEXT NOT NULL,
    cause       TEXT NOT NULL,
    message     TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    died_at     INTEGER NOT NULL
);
CREATE INDEX dead_letters_by_tenant ON dead_letters (tenant);
CREATE INDEX dead_letters_by_execution ON dead_letters (execution, event_id);

CREATE TABLE definitions (
    tenant        TEXT NOT NULL,
    definition_id TEXT NOT NULL,
    sequence      INTEGER NOT NULL,
    published     INTEGER NOT NULL,
    latest        INTEGER NOT NULL,
    revision      INTEGER NOT NULL,
    draft         TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant, definition_id)
);

CREATE TABLE definition_versions (
    tenant        TEXT NOT NULL,
    definition_id TEXT NOT NULL,
    version       INTEGER NOT NULL,
    content       TEXT NOT NULL,
    fingerprint   BLOB NOT NULL,
    created_at    INTEGER NOT NULL,
    user_id       TEXT NOT NULL,
    PRIMARY KEY (tenant, definition_id, version)
);

CREATE TABLE definition_events (
    tenant        TEXT NOT NULL,
    definition_id TEXT NOT NULL,
    sequence      INTEGER NOT NULL,
    name          TEXT NOT NULL,
    payload       TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    revision      INTEGER NOT NULL,
    PRIMARY KEY (tenant, definition_id, sequence)
);

-- One sequence of revisions a tenant.
CREATE TABLE revisions (
    tenant   TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) WITHOUT ROWID;

-- Ids grow in the order of writing and every request is kept equally long, so the oldest ids are the first to expire.
CREATE TABLE requests (
    id          INTEGER PRIMARY KEY,
    tenant      TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    identity    TEXT NOT NULL,
    expires_at  INTEGER NOT NULL
);
CREATE UNIQUE INDEX requests_by_id ON requests (tenant, request_id);

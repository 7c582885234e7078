-- The history in full: feeds of whole tenants, and what belongs to them.

-- Durable positions in the events of a tenant. `pruned` is what had been pruned when the subscriber last agreed to it.
CREATE TABLE subscriptions (
    tenant          TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    filter          TEXT NOT NULL,
    position        INTEGER NOT NULL,
    pruned          INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    used_at         INTEGER NOT NULL,
    PRIMARY KEY (tenant, subscription_id)
) WITHOUT ROWID;

-- Up to which position events of a tenant are no longer all there.
CREATE TABLE feeds_pruned (
    tenant   TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;

-- What a definition's executions are, in the order of the keys within each version and status. Written at a start, at an
-- end and when an execution changes its definition's version: never at a step.
CREATE INDEX executions_by_definition ON executions (tenant, definition_id, version, status);
-- Written at an end. Ends in the key (the rowid).
CREATE INDEX executions_by_end ON executions (tenant, ended_at) WHERE ended_at > 0;
-- Few are.
CREATE INDEX executions_with_incidents ON executions (tenant) WHERE incidents > 0;
-- Which executions wait for an event, whatever the key, in the order of theirs.
CREATE INDEX waits_by_name ON waits (tenant, name, execution);

-- How many executions there are of a kind, kept by the triggers below: whoever writes executions, it is right.
CREATE TABLE execution_counts (
    tenant        TEXT NOT NULL,
    definition_id TEXT NOT NULL,
    version       INTEGER NOT NULL,
    status        TEXT NOT NULL,
    executions    INTEGER NOT NULL,
    PRIMARY KEY (tenant, definition_id, version, status)
) WITHOUT ROWID;
INSERT INTO execution_counts (tenant, definition_id, version, status, executions)
SELECT tenant, definition_id, version, status, count(*) FROM executions
GROUP BY tenant, definition_id, version, status;

CREATE TRIGGER executions_count_new AFTER INSERT ON executions BEGIN
    INSERT INTO execution_counts (tenant, definition_id, version, status, executions)
    VALUES (new.tenant, new.definition_id, new.version, new.status, 1)
    ON CONFLICT (tenant, definition_id, version, status) DO UPDATE SET executions = executions + 1;
END;

CREATE TRIGGER executions_count_changed AFTER UPDATE OF tenant, definition_id, version, status ON executions
WHEN (old.tenant, old.definition_id, old.version, old.status)
    <> (new.tenant, new.definition_id, new.version, new.status)
BEGIN
    UPDATE execution_counts SET executions = executions - 1
    WHERE tenant = old.tenant AND definition_id = old.definition_id AND version = old.version AND status = old.status;
    INSERT INTO execution_counts (tenant, definition_id, version, status, executions)
    VALUES (new.tenant, new.definition_id, new.version, new.status, 1)
    ON CONFLICT (tenant, definition_id, version, status) DO UPDATE SET executions = executions + 1;
END;

CREATE TRIGGER executions_count_gone AFTER DELETE ON executions BEGIN
    UPDATE execution_counts SET executions = executions - 1
    WHERE tenant = old.tenant AND definition_id = old.definition_id AND version = old.version AND status = old.status;
END;

-- When executions may be pruned by themselves: written at the end of one whose definition says how long it is kept.
-- `position` is that of its last event.
CREATE TABLE retention (
    tenant     TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    execution  INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    PRIMARY KEY (tenant, expires_at, execution)
) WITHOUT ROWID;
CREATE INDEX retention_by_execution ON retention (execution);

-- Executions that are gone and whose events are still to go.
CREATE TABLE leftovers (
    execution INTEGER NOT NULL PRIMARY KEY
) WITHOUT ROWID;

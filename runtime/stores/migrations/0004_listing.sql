-- Listing and counting: fewer entries to write at a start and at an end, and more that is answered by them.

-- What it told, the counts below and executions_by_definition tell.
DROP INDEX executions_open;

-- Only what an author has named: an execution without `set_state` has no entry here. Ends in the key (the rowid).
CREATE INDEX executions_by_state ON executions (tenant, state) WHERE state <> lower(status);

-- How many executions there are of a kind; in place of execution_counts and its triggers. The writer adds up what a flush
-- changes and writes that, in the transaction of the change. What is no longer there has no row.
DROP TRIGGER executions_count_new;
DROP TRIGGER executions_count_changed;
DROP TRIGGER executions_count_gone;
DROP TABLE execution_counts;
CREATE TABLE execution_kinds (
    tenant        TEXT NOT NULL,
    definition_id TEXT NOT NULL,
    version       INTEGER NOT NULL,
    status        TEXT NOT NULL,
    state         TEXT NOT NULL,
    executions    INTEGER NOT NULL,
    PRIMARY KEY (tenant, definition_id, version, status, state)
) WITHOUT ROWID;
INSERT INTO execution_kinds (tenant, definition_id, version, status, state, executions)
SELECT tenant, definition_id, version, status, state, count(*) FROM executions
GROUP BY tenant, definition_id, version, status, state;

-- A label's executions by status, in the order of the keys: a page or a count by both is one stretch of it. Written at
-- the start, when the labels change, and when the status does.
CREATE TABLE labels_by_status (
    tenant    TEXT NOT NULL,
    name      TEXT NOT NULL,
    value     TEXT NOT NULL,
    status    TEXT NOT NULL,
    execution INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, value, status, execution)
) WITHOUT ROWID;
INSERT INTO labels_by_status (tenant, name, value, status, execution)
SELECT l.tenant, l.name, l.value, e.status, l.execution
FROM labels AS l CROSS JOIN executions AS e ON e.key = l.execution;
DROP TABLE labels;
ALTER TABLE labels_by_status RENAME TO labels;

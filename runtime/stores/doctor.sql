What `callboard doctor` asks. `{table}` is one of the names in sqlite_doctor.py.

-- name: meta
SELECT name, value FROM meta

-- name: table
SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?

-- name: rows
SELECT count(*) FROM {table}

-- name: open_executions
SELECT count(*) FROM executions WHERE ended_at = 0

-- name: orphans
SELECT count(*) FROM {table} WHERE execution NOT IN (SELECT key FROM executions)

-- name: orphans_but_leftovers
-- Of an execution that is deleted, the events go little by little.
SELECT count(*) FROM {table}
WHERE execution NOT IN (SELECT key FROM executions) AND execution NOT IN (SELECT execution FROM leftovers)

-- name: of_ended
SELECT count(*) FROM {table} WHERE execution IN (SELECT key FROM executions WHERE ended_at > 0)

-- name: heads
-- The events are read along their index, and not themselves.
SELECT x.tenant, x.execution_id, x.sequence, coalesce(e.last, 0), coalesce(e.stored, 0)
FROM executions AS x
LEFT JOIN (SELECT execution, max(sequence) AS last, count(*) AS stored FROM events GROUP BY execution) AS e
    ON e.execution = x.key
WHERE x.sequence <> coalesce(e.last, 0) OR x.sequence <> coalesce(e.stored, 0)
ORDER BY x.key LIMIT ?

-- name: strange
-- Each is told here, as no listing shows one whose status there is none of.
SELECT tenant, execution_id, status FROM executions NOT INDEXED
WHERE status NOT IN ('PENDING', 'RUNNING', 'REVERTING', 'COMPLETED', 'FAILED', 'REVERTED', 'CANCELLED', 'TERMINATED')
ORDER BY key LIMIT ?

-- name: unpublished
SELECT d.tenant, d.definition_id, d.published
FROM definitions AS d
WHERE d.published > 0 AND NOT EXISTS (
    SELECT 1 FROM definition_versions AS v
    WHERE v.tenant = d.tenant AND v.definition_id = d.definition_id AND v.version = d.published
)
ORDER BY d.tenant, d.definition_id LIMIT ?

-- name: wrong_counts
SELECT count(*) FROM (
    SELECT tenant, definition_id, version, status, state, sum(executions) AS n FROM (
        SELECT tenant, definition_id, version, status, state, executions FROM execution_kinds
        UNION ALL
        SELECT tenant, definition_id, version, status, state, -count(*) FROM executions
        GROUP BY tenant, definition_id, version, status, state
    ) GROUP BY tenant, definition_id, version, status, state HAVING n <> 0
)

-- name: forget_counts
DELETE FROM execution_kinds

-- name: count_again
INSERT INTO execution_kinds (tenant, definition_id, version, status, state, executions)
SELECT tenant, definition_id, version, status, state, count(*) FROM executions
GROUP BY tenant, definition_id, version, status, state

-- name: wrong_labels
WITH had AS (
    SELECT x.tenant, l.key AS name, l.value, x.status, x.key AS execution
    FROM executions AS x, json_each(iif(json_valid(x.labels), x.labels, '{}')) AS l WHERE x.labels <> '{}'
)
SELECT (SELECT count(*) FROM (SELECT tenant, name, value, status, execution FROM had
                              EXCEPT SELECT tenant, name, value, status, execution FROM labels))
     + (SELECT count(*) FROM (SELECT tenant, name, value, status, execution FROM labels
                              EXCEPT SELECT tenant, name, value, status, execution FROM had))

-- name: forget_labels
DELETE FROM labels

-- name: label_again
INSERT INTO labels (tenant, name, value, status, execution)
SELECT x.tenant, l.key, l.value, x.status, x.key
FROM executions AS x, json_each(iif(json_valid(x.labels), x.labels, '{}')) AS l WHERE x.labels <> '{}'

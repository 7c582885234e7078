-- The statements of pruning. What stands between the marks "rows" and "end" is repeated, once a row.

-- name: last_positions
SELECT e.key, (SELECT position FROM events WHERE execution = e.key ORDER BY sequence DESC LIMIT 1)
FROM executions AS e WHERE e.key IN (/*rows*/ ? /*end*/)

-- name: emitting
SELECT DISTINCT execution FROM outbox WHERE execution IN (/*rows*/ ? /*end*/)

-- name: acknowledged
SELECT min(position) FROM subscriptions WHERE tenant = ?

-- name: drop_executions
DELETE FROM executions WHERE key IN (/*rows*/ ? /*end*/)

-- name: drop_all_snapshots
DELETE FROM snapshots WHERE execution IN (/*rows*/ ? /*end*/)

-- name: drop_inbox
DELETE FROM inbox WHERE execution IN (/*rows*/ ? /*end*/)

-- name: drop_letters
DELETE FROM dead_letters WHERE execution IN (/*rows*/ ? /*end*/)

-- name: drop_waits
DELETE FROM waits WHERE execution IN (/*rows*/ ? /*end*/)

-- name: drop_tasks
DELETE FROM open_tasks WHERE execution IN (/*rows*/ ? /*end*/)

-- name: drop_timers
DELETE FROM timers WHERE execution IN (/*rows*/ ? /*end*/)

-- name: drop_expiries
DELETE FROM retention WHERE execution IN (/*rows*/ ? /*end*/)

-- name: drop_events
DELETE FROM events WHERE execution IN (/*rows*/ ? /*end*/)

-- name: put_expiries
INSERT INTO retention (tenant, expires_at, execution, position) VALUES /*rows*/ (?, ?, ?, ?) /*end*/

-- name: put_leftovers
INSERT INTO leftovers (execution) VALUES /*rows*/ (?) /*end*/

-- name: leftovers
SELECT execution FROM leftovers ORDER BY execution LIMIT ?

-- Nothing but a leftover loses events. The last ones go first: whoever still reads finds an end and no gap.
-- name: remove_leftover
DELETE FROM events WHERE position IN (
    SELECT e.position FROM leftovers AS l CROSS JOIN events AS e ON e.execution = l.execution
    WHERE l.execution = ? ORDER BY e.sequence DESC LIMIT ?
)

-- The key that would open them is gone already.
-- name: remove_leftover_values
DELETE FROM sealed_values
WHERE execution = (SELECT execution FROM leftovers WHERE execution = ?1)
  AND commitment <= (SELECT max(commitment)
                     FROM (SELECT commitment FROM sealed_values WHERE execution = ?1 ORDER BY commitment LIMIT ?2))

-- name: finish_leftover
DELETE FROM leftovers
WHERE execution = ?1 AND NOT EXISTS (SELECT 1 FROM events WHERE execution = ?1)
  AND NOT EXISTS (SELECT 1 FROM sealed_values WHERE execution = ?1)

-- name: expired
SELECT r.expires_at, r.execution, e.tenant, e.execution_id
FROM retention AS r CROSS JOIN executions AS e ON e.key = r.execution
WHERE r.tenant = ?1 AND r.expires_at <= ?2 AND (r.expires_at, r.execution) > (?3, ?4) AND e.ended_at < ?5
  AND (r.position <= ?6 OR r.expires_at <= ?7)
ORDER BY r.expires_at, r.execution LIMIT ?8

-- name: expired_count
SELECT count(*)
FROM retention AS r CROSS JOIN executions AS e ON e.key = r.execution
WHERE r.tenant = ? AND r.expires_at <= ? AND e.ended_at < ?

-- A step a tenant, and not a row an execution.
-- name: first_expiries
WITH RECURSIVE of_tenants (tenant) AS (
    SELECT min(tenant) FROM retention
    UNION ALL
    SELECT (SELECT min(tenant) FROM retention AS r WHERE r.tenant > t.tenant)
    FROM of_tenants AS t WHERE t.tenant IS NOT NULL
)
SELECT tenant, (SELECT min(expires_at) FROM retention AS r WHERE r.tenant = t.tenant)
FROM of_tenants AS t WHERE tenant IS NOT NULL

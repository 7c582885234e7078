-- The statements of a flush. What stands between the marks "rows" and "end" is repeated, once a row: every step of a
-- statement lets go of the interpreter and has to win it back from a busy event loop, which costs more than the row.
-- Between "any" and "end" it is repeated with OR: SQLite walks the whole table for `(a, b) IN (VALUES ...)` in a DELETE
-- or UPDATE, and looks each row up by its key for `a = ? AND b = ? OR ...`.

-- name: executions_of
SELECT e.key, e.tenant, e.execution_id, e.status, e.state, e.definition_id, e.version, CAST(e.labels AS BLOB),
       e.sequence, e.hash, e.started_at, e.updated_at, e.ended_at, e.incidents
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN executions AS e ON e.tenant = v.column1 AND e.execution_id = v.column2

-- name: executions_at
SELECT key, tenant, execution_id, status, state, definition_id, version, CAST(labels AS BLOB),
       sequence, hash, started_at, updated_at, ended_at, incidents
FROM executions WHERE key IN (/*rows*/ ? /*end*/)

-- name: requests_known
SELECT r.tenant, r.request_id, r.fingerprint, r.identity, r.expires_at
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN requests AS r ON r.tenant = v.column1 AND r.request_id = v.column2

-- name: events_known
SELECT e.execution, e.event_id
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN events AS e ON e.execution = v.column1 AND e.event_id = v.column2

-- name: inbox_known
SELECT i.execution, i.event_id
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN inbox AS i ON i.execution = v.column1 AND i.event_id = v.column2 AND i.event_id <> ''

-- name: letters_known
SELECT d.execution, d.event_id
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN dead_letters AS d ON d.execution = v.column1 AND d.event_id = v.column2 AND d.kind = 'event'

-- name: inbox_at
SELECT id, execution FROM inbox WHERE id IN (/*rows*/ ? /*end*/)

-- name: letters_at
SELECT id, tenant, execution, iif(kind = 'event', event_id, '') FROM dead_letters WHERE id IN (/*rows*/ ? /*end*/)

-- name: definitions_at
SELECT d.tenant, d.definition_id, d.sequence, d.published, d.latest, d.revision, CAST(d.draft AS BLOB),
       d.created_at, d.updated_at, d.state, CAST(d.gone AS BLOB), CAST(d.paused AS BLOB)
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN definitions AS d ON d.tenant = v.column1 AND d.definition_id = v.column2

-- name: revisions_at
SELECT tenant, revision FROM revisions WHERE tenant IN (/*rows*/ ? /*end*/)

-- name: lines_at
SELECT l.tenant, l.definition_id, l.line, l.execution, e.tenant, e.execution_id
FROM (VALUES /*rows*/ (?, ?, ?) /*end*/) AS v
CROSS JOIN lines AS l ON l.tenant = v.column1 AND l.definition_id = v.column2 AND l.line = v.column3
CROSS JOIN executions AS e ON e.key = l.execution
ORDER BY l.execution

-- name: waits_at
SELECT w.id, e.tenant, e.execution_id, w.execution, w.path
FROM waits AS w CROSS JOIN executions AS e ON e.key = w.execution
WHERE w.tenant = ? AND w.name = ? AND w.key = ? ORDER BY w.id LIMIT ?

-- name: published_at
SELECT p.tenant, p.event_id, CAST(p.outcome AS BLOB), p.expires_at
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN published_events AS p ON p.tenant = v.column1 AND p.event_id = v.column2

-- name: outbox_at
SELECT id FROM outbox WHERE id IN (/*rows*/ ? /*end*/)

-- name: listeners_at
SELECT l.tenant, l.event_name, l.revision
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN listener_revisions AS l ON l.tenant = v.column1 AND l.event_name = v.column2

-- name: triggers_at
SELECT t.tenant, t.definition_id, t.trigger_id, t.version, t.event_name, t.identity, t.active, t.paused, t.spec,
       t.next_slot, t.due, t.last_slot, t.last_execution_id, t.last_started_at, t.skipped, t.last_skipped
FROM (VALUES /*rows*/ (?, ?, ?) /*end*/) AS v
CROSS JOIN triggers AS t ON t.tenant = v.column1 AND t.definition_id = v.column2 AND t.trigger_id = v.column3

-- name: triggers_of
SELECT t.tenant, t.definition_id, t.trigger_id, t.version, t.event_name, t.identity, t.active, t.paused, t.spec,
       t.next_slot, t.due, t.last_slot, t.last_execution_id, t.last_started_at, t.skipped, t.last_skipped
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN triggers AS t ON t.tenant = v.column1 AND t.definition_id = v.column2

-- name: open_at
SELECT coalesce(sum(executions), 0) FROM execution_kinds
WHERE tenant = ? AND definition_id = ? AND status IN ('PENDING', 'RUNNING', 'REVERTING')

-- name: open_version_at
SELECT coalesce(sum(executions), 0) FROM execution_kinds
WHERE tenant = ? AND definition_id = ? AND version = ? AND status IN ('PENDING', 'RUNNING', 'REVERTING')

-- name: insert_executions
INSERT INTO executions (key, tenant, execution_id, shard, definition_id, version, labels, status, state, sequence,
                        hash, started_at, updated_at, ended_at, incidents)
VALUES /*rows*/ (?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?, ?) /*end*/

-- name: advance_executions
UPDATE executions SET sequence = v.column2, hash = v.column3, updated_at = v.column4
FROM (VALUES /*rows*/ (?, ?, ?, ?) /*end*/) AS v WHERE key = v.column1

-- name: advance_execution
UPDATE executions SET sequence = ?2, hash = ?3, updated_at = ?4 WHERE key = ?1

-- name: enter_executions
UPDATE executions SET sequence = v.column2, hash = v.column3, updated_at = v.column4, state = v.column5
FROM (VALUES /*rows*/ (?, ?, ?, ?, ?) /*end*/) AS v WHERE key = v.column1

-- name: end_executions
UPDATE executions
SET sequence = v.column2, hash = v.column3, updated_at = v.column4, state = v.column5, status = v.column6,
    ended_at = v.column7
FROM (VALUES /*rows*/ (?, ?, ?, ?, ?, ?, ?) /*end*/) AS v WHERE key = v.column1

-- name: end_execution
UPDATE executions SET sequence = ?2, hash = ?3, updated_at = ?4, state = ?5, status = ?6, ended_at = ?7 WHERE key = ?1

-- name: change_executions
UPDATE executions
SET sequence = v.column2, hash = v.column3, updated_at = v.column4, state = v.column5, status = v.column6,
    ended_at = v.column7, definition_id = v.column8, version = v.column9, labels = CAST(v.column10 AS TEXT),
    started_at = v.column11, incidents = v.column12
FROM (VALUES /*rows*/ (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /*end*/) AS v WHERE key = v.column1

-- name: delete_labels
DELETE FROM labels
WHERE /*any*/ (tenant = ? AND name = ? AND value = ? AND status = ? AND execution = ?) /*end*/

-- name: insert_labels
INSERT INTO labels (tenant, name, value, status, execution) VALUES /*rows*/ (?, ?, ?, ?, ?) /*end*/

-- name: count_executions
INSERT INTO execution_kinds (tenant, definition_id, version, status, state, executions)
VALUES /*rows*/ (?, ?, ?, ?, ?, ?) /*end*/
ON CONFLICT (tenant, definition_id, version, status, state) DO UPDATE SET executions = executions + excluded.executions

-- name: forget_kinds
DELETE FROM execution_kinds
WHERE /*any*/ (tenant = ? AND definition_id = ? AND version = ? AND executions = 0) /*end*/

-- name: insert_events
INSERT INTO events (position, execution, sequence, name, payload, created_at, hash, to_state, event_id, context)
VALUES /*rows*/ (?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, ?, CAST(? AS TEXT)) /*end*/

-- name: insert_requests
INSERT OR REPLACE INTO requests (tenant, request_id, fingerprint, identity, expires_at)
VALUES /*rows*/ (?, ?, ?, ?, ?) /*end*/

-- name: forget_requests
DELETE FROM requests WHERE id IN (SELECT id FROM requests ORDER BY id LIMIT ?) AND expires_at <= ?

-- name: insert_snapshots
INSERT OR REPLACE INTO snapshots (execution, sequence, format, checksum, data, created_at)
VALUES /*rows*/ (?, ?, ?, ?, ?, ?) /*end*/

-- name: snapshots_at
SELECT sequence FROM snapshots WHERE execution = ? ORDER BY sequence

-- name: delete_snapshots
DELETE FROM snapshots WHERE /*any*/ (execution = ? AND sequence = ?) /*end*/

-- name: insert_inbox
INSERT INTO inbox (id, execution, shard, kind, event_id, name, payload, context, accepted_at, path, published_id)
VALUES /*rows*/ (?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?) /*end*/

-- name: delete_inbox
DELETE FROM inbox WHERE id IN (/*rows*/ ? /*end*/)

-- name: requeue_letter
INSERT INTO inbox (id, execution, shard, kind, event_id, name, payload, context, accepted_at, path, published_id)
SELECT ?1, execution, ?3, kind, iif(kind = 'offer', '', event_id), name, payload, context, ?4, path,
       iif(kind = 'offer', event_id, '')
FROM dead_letters WHERE id = ?2

-- name: delete_letters
DELETE FROM dead_letters WHERE id IN (/*rows*/ ? /*end*/)

-- name: bury_inbox
INSERT INTO dead_letters (tenant, execution, event_id, name, payload, context, cause, message, accepted_at, died_at,
                          kind, path)
SELECT ?2, execution, iif(kind = 'offer', published_id, event_id), name, payload, context, ?3, ?4, accepted_at, ?5,
       kind, path
FROM inbox WHERE id = ?1

-- name: bury_events
INSERT INTO dead_letters (tenant, execution, event_id, name, payload, context, cause, message, accepted_at, died_at)
VALUES /*rows*/ (?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?) /*end*/

-- name: event_origin
SELECT e.created_at,
       CAST((SELECT c.context FROM events AS c
             WHERE c.execution = e.execution AND c.sequence <= e.sequence AND c.context IS NOT NULL
             ORDER BY c.sequence DESC LIMIT 1) AS BLOB)
FROM events AS e WHERE e.execution = ? AND e.event_id = ?

-- name: close_letters
INSERT INTO dead_letters (tenant, execution, event_id, name, payload, context, cause, message, accepted_at, died_at)
SELECT e.tenant, i.execution, i.event_id, i.name, i.payload, i.context, 'EXECUTION_ENDED',
       'the execution ended before the event was processed', i.accepted_at, v.column2
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN inbox AS i ON i.execution = v.column1 AND i.kind = 'event'
CROSS JOIN executions AS e ON e.key = i.execution
ORDER BY i.id

-- name: close_inbox
DELETE FROM inbox WHERE execution IN (/*rows*/ ? /*end*/)

-- name: close_tasks
DELETE FROM open_tasks WHERE execution IN (/*rows*/ ? /*end*/)

-- name: close_timers
DELETE FROM timers WHERE execution IN (/*rows*/ ? /*end*/)

-- name: cancel_tasks
UPDATE open_tasks SET cancel_requested = 1 WHERE /*any*/ (execution = ? AND path = ?) /*end*/

-- name: delete_tasks
DELETE FROM open_tasks WHERE /*any*/ (execution = ? AND path = ?) /*end*/

-- name: put_tasks
INSERT OR REPLACE INTO open_tasks (execution, path, shard, operation, attempt, scheduled, priority, attempt_timeout,
                                   since, cancel_requested)
VALUES /*rows*/ (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /*end*/

-- name: delete_step_timers
DELETE FROM timers WHERE /*any*/ (execution = ? AND path = ?) /*end*/

-- name: delete_timers
DELETE FROM timers WHERE /*any*/ (execution = ? AND path = ? AND timer = ?) /*end*/

-- name: put_timers
INSERT OR REPLACE INTO timers (execution, path, timer, shard, due) VALUES /*rows*/ (?, ?, ?, ?, ?) /*end*/

-- name: delete_lines
DELETE FROM lines WHERE /*any*/ (tenant = ? AND definition_id = ? AND line = ? AND execution = ?) /*end*/

-- name: insert_lines
INSERT INTO lines (tenant, definition_id, line, execution) VALUES /*rows*/ (?, ?, ?, ?) /*end*/

-- name: delete_waits
DELETE FROM waits WHERE /*any*/ (execution = ? AND path = ?) /*end*/

-- name: insert_waits
INSERT INTO waits (id, tenant, name, key, execution, path) VALUES /*rows*/ (?, ?, ?, ?, ?, ?) /*end*/

-- name: keep_waits_number
UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'waits'

-- name: delete_outbox
DELETE FROM outbox WHERE id IN (/*rows*/ ? /*end*/)

-- name: insert_outbox
INSERT INTO outbox (execution, shard, sequence, name, event_key, payload, context, created_at)
VALUES /*rows*/ (?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?) /*end*/

-- name: insert_published
INSERT OR REPLACE INTO published_events (tenant, event_id, outcome, expires_at)
VALUES /*rows*/ (?, ?, CAST(? AS TEXT), ?) /*end*/

-- name: forget_published
DELETE FROM published_events
WHERE id IN (SELECT id FROM published_events ORDER BY id LIMIT ?) AND expires_at <= ?

-- name: put_definitions
INSERT INTO definitions (tenant, definition_id, sequence, published, latest, revision, draft, created_at, updated_at,
                         state, gone, paused)
VALUES /*rows*/ (?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT)) /*end*/
ON CONFLICT (tenant, definition_id) DO UPDATE
SET sequence = excluded.sequence, published = excluded.published, latest = excluded.latest,
    revision = excluded.revision, draft = excluded.draft, updated_at = excluded.updated_at, state = excluded.state,
    gone = excluded.gone, paused = excluded.paused

-- name: put_revisions
INSERT INTO revisions (tenant, revision) VALUES /*rows*/ (?, ?) /*end*/
ON CONFLICT (tenant) DO UPDATE SET revision = excluded.revision

-- name: insert_definition_versions
INSERT INTO definition_versions (tenant, definition_id, version, content, fingerprint, created_at, user_id)
VALUES /*rows*/ (?, ?, ?, CAST(? AS TEXT), ?, ?, ?) /*end*/

-- name: delete_definition_versions
DELETE FROM definition_versions WHERE /*any*/ (tenant = ? AND definition_id = ? AND version = ?) /*end*/

-- name: insert_definition_events
INSERT INTO definition_events (tenant, definition_id, sequence, name, payload, user_id, created_at, revision)
VALUES /*rows*/ (?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?) /*end*/

-- name: put_triggers
INSERT INTO triggers (tenant, definition_id, trigger_id, version, event_name, identity, active, paused, spec,
                      next_slot, due, last_slot, last_execution_id, last_started_at, skipped, last_skipped)
VALUES /*rows*/ (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /*end*/
ON CONFLICT (tenant, definition_id, trigger_id) DO UPDATE
SET version = excluded.version, event_name = excluded.event_name, identity = excluded.identity,
    active = excluded.active, paused = excluded.paused, spec = excluded.spec, next_slot = excluded.next_slot,
    due = excluded.due, last_slot = excluded.last_slot, skipped = excluded.skipped,
    last_skipped = excluded.last_skipped

-- name: start_triggers
UPDATE triggers SET last_execution_id = v.column4, last_started_at = v.column5
FROM (VALUES /*rows*/ (?, ?, ?, ?, ?) /*end*/) AS v
WHERE tenant = v.column1 AND definition_id = v.column2 AND trigger_id = v.column3

-- name: put_listeners
INSERT INTO listener_revisions (tenant, event_name, revision) VALUES /*rows*/ (?, ?, ?) /*end*/
ON CONFLICT (tenant, event_name) DO UPDATE SET revision = excluded.revision

-- name: put_jobs
INSERT INTO jobs (tenant, job_id, kind, state, target, cursor, user_id, total, done, failed, failures, message,
                  created_at, updated_at, ended_at)
VALUES /*rows*/ (?, ?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, ?) /*end*/
ON CONFLICT (tenant, job_id) DO UPDATE
SET kind = excluded.kind, state = excluded.state, target = excluded.target, cursor = excluded.cursor,
    user_id = excluded.user_id, total = excluded.total, done = excluded.done, failed = excluded.failed,
    failures = excluded.failures, message = excluded.message, created_at = excluded.created_at,
    updated_at = excluded.updated_at, ended_at = excluded.ended_at

-- name: forget_jobs
DELETE FROM jobs
WHERE number IN (SELECT number FROM jobs WHERE ended_at > 0 AND ended_at < ? ORDER BY ended_at, number LIMIT ?)

-- name: probe
INSERT INTO meta (name, value) VALUES ('probe', zeroblob(131072))

-- name: probe_done
DELETE FROM meta WHERE name = 'probe'

-- name: probed
INSERT INTO meta (name, value) VALUES ('probed', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1

-- The statements of the reading connections. Every one of them is bounded by its keys or by a LIMIT.

-- name: execution
SELECT key, tenant, execution_id, status, state, definition_id, version, CAST(labels AS BLOB),
       sequence, hash, started_at, updated_at, ended_at, incidents
FROM executions WHERE tenant = ? AND execution_id = ?

-- name: execution_by_key
SELECT key, tenant, execution_id, status, state, definition_id, version, CAST(labels AS BLOB),
       sequence, hash, started_at, updated_at, ended_at, incidents
FROM executions WHERE key = ?

-- name: events
SELECT sequence, name, CAST(payload AS BLOB), created_at, hash, to_state, event_id, CAST(context AS BLOB), position
FROM events WHERE execution = ? AND sequence > ? AND typeof(sequence) = 'integer' ORDER BY sequence LIMIT ?

-- name: stored_events
-- All of a row comes from the table itself: what the index says of it may be sound where the row is not.
SELECT iif(e.execution IS i.execution, e.sequence, -1), e.name, CAST(e.payload AS BLOB), e.created_at, e.hash,
       e.to_state, e.event_id, CAST(e.context AS BLOB), e.position
FROM events AS i CROSS JOIN events AS e NOT INDEXED ON e.position = i.position
WHERE i.execution = ? AND i.sequence > ? AND typeof(i.sequence) = 'integer' ORDER BY i.sequence LIMIT ?

-- name: context_before
SELECT CAST(context AS BLOB) FROM events
WHERE execution = ? AND sequence < ? AND context IS NOT NULL ORDER BY sequence DESC LIMIT 1

-- name: snapshot
SELECT sequence, format, data, checksum, created_at FROM snapshots
WHERE execution = ? AND sequence <= ? AND typeof(sequence) = 'integer' ORDER BY sequence DESC LIMIT 1

-- name: snapshots
SELECT sequence, format, data, checksum, created_at FROM snapshots
WHERE execution = ? AND typeof(sequence) = 'integer' ORDER BY sequence DESC

-- name: known_events
SELECT e.event_id
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN events AS e ON e.execution = v.column1 AND e.event_id = v.column2

-- name: requests
SELECT r.tenant, r.request_id, r.fingerprint, r.identity, r.expires_at
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN requests AS r ON r.tenant = v.column1 AND r.request_id = v.column2

-- name: open_tasks
SELECT e.tenant, e.execution_id, t.execution, t.path, t.operation, t.attempt, t.scheduled, t.priority,
       t.attempt_timeout, t.since, t.cancel_requested
FROM open_tasks AS t CROSS JOIN executions AS e ON e.key = t.execution
WHERE (t.execution, t.path) > (?, ?) ORDER BY t.execution, t.path LIMIT ?

-- name: task_inputs
SELECT e.execution, e.sequence, CAST(e.payload AS BLOB)
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN events AS e ON e.execution = v.column1 AND e.sequence = v.column2

-- name: timers
SELECT e.tenant, e.execution_id, t.execution, t.path, t.timer, t.due
FROM timers AS t CROSS JOIN executions AS e ON e.key = t.execution
WHERE t.due <= ? ORDER BY t.due LIMIT ?

-- name: inbox
SELECT id, kind, event_id, name, CAST(payload AS BLOB), CAST(context AS BLOB), accepted_at, path, published_id
FROM inbox WHERE execution = ? ORDER BY id LIMIT ?

-- name: inbox_beside_events
SELECT id, kind, event_id, name, CAST(payload AS BLOB), CAST(context AS BLOB), accepted_at, path, published_id
FROM inbox WHERE execution = ? AND kind <> 'event' ORDER BY id LIMIT ?

-- name: inbox_executions
SELECT DISTINCT i.execution, e.tenant, e.execution_id
FROM inbox AS i CROSS JOIN executions AS e ON e.key = i.execution
WHERE i.execution > ? ORDER BY i.execution LIMIT ?

-- name: dead_letters
SELECT d.id, d.tenant, e.execution_id, d.event_id, d.name, CAST(d.payload AS BLOB), CAST(d.context AS BLOB),
       d.cause, d.message, d.accepted_at, d.died_at
FROM dead_letters AS d CROSS JOIN executions AS e ON e.key = d.execution
WHERE d.tenant = ? AND d.id > ? ORDER BY d.id LIMIT ?

-- name: dead_letters_of
SELECT d.id, d.tenant, e.execution_id, d.event_id, d.name, CAST(d.payload AS BLOB), CAST(d.context AS BLOB),
       d.cause, d.message, d.accepted_at, d.died_at
FROM executions AS e CROSS JOIN dead_letters AS d ON d.execution = e.key
WHERE e.tenant = ? AND e.execution_id = ? AND d.id > ? ORDER BY d.id LIMIT ?

-- name: definition
SELECT tenant, definition_id, sequence, published, latest, revision, CAST(draft AS BLOB), created_at, updated_at,
       state, CAST(gone AS BLOB), CAST(paused AS BLOB)
FROM definitions WHERE tenant = ? AND definition_id = ?

-- name: definitions
SELECT tenant, definition_id, sequence, published, latest, revision, CAST(draft AS BLOB), created_at, updated_at,
       state, CAST(gone AS BLOB), CAST(paused AS BLOB)
FROM definitions WHERE tenant = ? AND definition_id > ? ORDER BY definition_id LIMIT ?

-- name: definition_version
SELECT version, CAST(content AS BLOB), fingerprint, created_at, user_id
FROM definition_versions WHERE tenant = ? AND definition_id = ? AND version = ?

-- name: definition_versions
SELECT version, CAST(content AS BLOB), fingerprint, created_at, user_id
FROM definition_versions WHERE tenant = ? AND definition_id = ? AND version < ? ORDER BY version DESC LIMIT ?

-- name: definition_events
SELECT sequence, name, CAST(payload AS BLOB), user_id, created_at, revision
FROM definition_events WHERE tenant = ? AND definition_id = ? AND sequence > ? AND revision > ?
ORDER BY sequence LIMIT ?

-- name: tenant_definition_events
SELECT definition_id, sequence, name, CAST(payload AS BLOB), user_id, created_at, revision
FROM definition_events WHERE tenant = ? AND (revision, definition_id, sequence) > (?, ?, ?)
ORDER BY revision, definition_id, sequence LIMIT ?

-- name: trigger
SELECT t.tenant, t.definition_id, t.trigger_id, t.version, t.event_name, t.identity, t.active, t.paused, t.spec,
       t.next_slot, t.due, t.last_slot, t.last_execution_id, t.last_started_at, t.skipped, t.last_skipped,
       max(0, (SELECT count(*) FROM lines AS l
               WHERE l.tenant = t.tenant AND l.definition_id = t.definition_id
                 AND l.line = 'trigger:' || t.trigger_id) - 1)
FROM triggers AS t
WHERE t.tenant = ? AND t.definition_id = ? AND t.trigger_id = ?

-- name: listeners
SELECT t.tenant, t.definition_id, t.trigger_id, t.version, t.event_name, t.identity, t.active, t.paused, t.spec,
       t.next_slot, t.due, t.last_slot, t.last_execution_id, t.last_started_at, t.skipped, t.last_skipped,
       max(0, (SELECT count(*) FROM lines AS l
               WHERE l.tenant = t.tenant AND l.definition_id = t.definition_id
                 AND l.line = 'trigger:' || t.trigger_id) - 1)
FROM triggers AS t INDEXED BY triggers_by_event
WHERE t.tenant = ? AND t.event_name = ? AND t.active = 1 AND t.event_name <> ''
ORDER BY t.definition_id, t.trigger_id

-- name: triggers
SELECT t.tenant, t.definition_id, t.trigger_id, t.version, t.event_name, t.identity, t.active, t.paused, t.spec,
       t.next_slot, t.due, t.last_slot, t.last_execution_id, t.last_started_at, t.skipped, t.last_skipped,
       max(0, (SELECT count(*) FROM lines AS l
               WHERE l.tenant = t.tenant AND l.definition_id = t.definition_id
                 AND l.line = 'trigger:' || t.trigger_id) - 1)
FROM triggers AS t
WHERE t.tenant = ?1 AND t.active = 1 AND (t.definition_id, t.trigger_id) > (?2, ?3)
ORDER BY t.definition_id, t.trigger_id LIMIT ?4

-- name: triggers_of_definition
SELECT t.tenant, t.definition_id, t.trigger_id, t.version, t.event_name, t.identity, t.active, t.paused, t.spec,
       t.next_slot, t.due, t.last_slot, t.last_execution_id, t.last_started_at, t.skipped, t.last_skipped,
       max(0, (SELECT count(*) FROM lines AS l
               WHERE l.tenant = t.tenant AND l.definition_id = t.definition_id
                 AND l.line = 'trigger:' || t.trigger_id) - 1)
FROM triggers AS t
WHERE t.tenant = ?1 AND t.definition_id = ?5 AND t.active = 1 AND ?6 IN ('', t.event_name)
  AND (t.definition_id, t.trigger_id) > (?2, ?3)
ORDER BY t.trigger_id LIMIT ?4

-- name: triggers_of_event
SELECT t.tenant, t.definition_id, t.trigger_id, t.version, t.event_name, t.identity, t.active, t.paused, t.spec,
       t.next_slot, t.due, t.last_slot, t.last_execution_id, t.last_started_at, t.skipped, t.last_skipped,
       max(0, (SELECT count(*) FROM lines AS l
               WHERE l.tenant = t.tenant AND l.definition_id = t.definition_id
                 AND l.line = 'trigger:' || t.trigger_id) - 1)
FROM triggers AS t INDEXED BY triggers_by_event
WHERE t.tenant = ?1 AND t.event_name = ?5 AND t.active = 1 AND t.event_name <> ''
  AND (t.definition_id, t.trigger_id) > (?2, ?3)
ORDER BY t.definition_id, t.trigger_id LIMIT ?4

-- name: due_triggers
SELECT t.tenant, t.definition_id, t.trigger_id, t.version, t.event_name, t.identity, t.active, t.paused, t.spec,
       t.next_slot, t.due, t.last_slot, t.last_execution_id, t.last_started_at, t.skipped, t.last_skipped,
       max(0, (SELECT count(*) FROM lines AS l
               WHERE l.tenant = t.tenant AND l.definition_id = t.definition_id
                 AND l.line = 'trigger:' || t.trigger_id) - 1)
FROM triggers AS t
WHERE t.active = 1 AND t.paused = 0 AND t.due > 0 AND t.due <= ? ORDER BY t.due LIMIT ?

-- name: listener_revision
SELECT revision FROM listener_revisions WHERE tenant = ? AND event_name = ?

-- name: line
SELECT e.tenant, e.execution_id
FROM lines AS l CROSS JOIN executions AS e ON e.key = l.execution
WHERE l.tenant = ? AND l.definition_id = ? AND l.line = ? ORDER BY l.execution LIMIT ?

-- name: open_count
SELECT coalesce(sum(executions), 0) FROM execution_kinds
WHERE tenant = ? AND definition_id = ? AND status IN ('PENDING', 'RUNNING', 'REVERTING')

-- name: open_version_count
SELECT coalesce(sum(executions), 0) FROM execution_kinds
WHERE tenant = ? AND definition_id = ? AND version = ? AND status IN ('PENDING', 'RUNNING', 'REVERTING')

-- name: open_kinds
SELECT DISTINCT version, status FROM execution_kinds
WHERE tenant = ?1 AND definition_id = ?2 AND ?3 IN (0, version) AND status IN ('PENDING', 'RUNNING', 'REVERTING')

-- name: open_executions
SELECT key, tenant, execution_id FROM executions INDEXED BY executions_by_definition
WHERE tenant = ? AND definition_id = ? AND version = ? AND status = ? AND key > ? ORDER BY key LIMIT ?

-- name: waits
SELECT w.id, e.tenant, e.execution_id, w.execution, w.path
FROM waits AS w CROSS JOIN executions AS e ON e.key = w.execution
WHERE w.tenant = ? AND w.name = ? AND w.key = ? AND w.id > ? AND w.id <= ? ORDER BY w.id LIMIT ?

-- name: outbox
SELECT o.id, e.tenant, e.execution_id, o.execution, o.sequence, o.name, o.event_key, CAST(o.payload AS BLOB),
       CAST(o.context AS BLOB), o.created_at
FROM outbox AS o CROSS JOIN executions AS e ON e.key = o.execution
WHERE o.id > ?1 AND ?2 IN ('', e.tenant) ORDER BY o.id LIMIT ?3

-- name: published_event
SELECT CAST(outcome AS BLOB) FROM published_events WHERE tenant = ? AND event_id = ? AND expires_at > ?

-- name: job
SELECT tenant, job_id, kind, state, target, CAST(cursor AS BLOB), user_id, total, done, failed,
       CAST(failures AS BLOB), message, created_at, updated_at, ended_at, number
FROM jobs WHERE tenant = ? AND job_id = ?

-- name: jobs
SELECT tenant, job_id, kind, state, target, CAST(cursor AS BLOB), user_id, total, done, failed,
       CAST(failures AS BLOB), message, created_at, updated_at, ended_at, number
FROM jobs WHERE tenant = ? AND number < ? ORDER BY number DESC LIMIT ?

-- name: open_jobs
SELECT tenant, job_id, kind, state, target, CAST(cursor AS BLOB), user_id, total, done, failed,
       CAST(failures AS BLOB), message, created_at, updated_at, ended_at, number
FROM jobs WHERE state = 'RUNNING' ORDER BY number

-- name: revision
-- The row without a name says where those begin of a tenant that has had none.
SELECT max(revision) FROM revisions WHERE tenant IN (?, '')

-- name: counts
SELECT (SELECT coalesce(sum(executions), 0) FROM execution_kinds WHERE status IN ('PENDING', 'RUNNING', 'REVERTING')),
       (SELECT count(*) FROM open_tasks), (SELECT count(*) FROM timers), (SELECT count(*) FROM inbox),
       (SELECT count(*) FROM dead_letters), (SELECT count(*) FROM definitions)

-- The statements of feeds and subscriptions, of the writing connection and of the reading ones.

-- name: feed_bound
SELECT max(position), count(*)
FROM (SELECT position FROM events WHERE position > ? ORDER BY position LIMIT ?)

-- name: feed
SELECT x.execution_id, x.definition_id, e.execution, e.sequence, e.name, CAST(e.payload AS BLOB), e.created_at, e.hash,
       e.to_state, e.event_id, CAST(e.context AS BLOB), e.position
FROM events AS e CROSS JOIN executions AS x ON x.key = e.execution
WHERE e.position > ? AND e.position <= ? AND x.tenant = ? ORDER BY e.position LIMIT ?

-- name: feed_count
SELECT count(*)
FROM events AS e CROSS JOIN executions AS x ON x.key = e.execution
WHERE e.position > ? AND e.position <= ? AND x.tenant = ?

-- name: feed_pruned
SELECT position FROM feeds_pruned WHERE tenant = ?

-- name: last_position
SELECT seq FROM sqlite_sequence WHERE name = 'events'

-- name: state_before
SELECT to_state FROM events
WHERE execution = ? AND sequence < ? AND to_state IS NOT NULL ORDER BY sequence DESC LIMIT 1

-- name: context_before
SELECT CAST(context AS BLOB) FROM events
WHERE execution = ? AND sequence < ? AND context IS NOT NULL ORDER BY sequence DESC LIMIT 1

-- name: subscription
SELECT tenant, subscription_id, filter, position, pruned, created_at, used_at
FROM subscriptions WHERE tenant = ? AND subscription_id = ?

-- name: subscriptions
SELECT tenant, subscription_id, filter, position, pruned, created_at, used_at
FROM subscriptions WHERE tenant = ? AND subscription_id > ? ORDER BY subscription_id LIMIT ?

-- name: subscription_count
SELECT count(*) FROM subscriptions WHERE tenant = ?

-- name: put_subscription
INSERT INTO subscriptions (tenant, subscription_id, filter, position, pruned, created_at, used_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, subscription_id) DO UPDATE
SET filter = excluded.filter, position = excluded.position, pruned = excluded.pruned,
    created_at = excluded.created_at, used_at = excluded.used_at

-- name: delete_subscription
DELETE FROM subscriptions WHERE tenant = ? AND subscription_id = ?

-- name: put_pruned
INSERT INTO feeds_pruned (tenant, position) VALUES (?, ?)
ON CONFLICT (tenant) DO UPDATE SET position = max(position, excluded.position)

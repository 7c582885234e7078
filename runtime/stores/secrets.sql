-- The statements of sensitive values. What stands between the marks "rows" and "end" is repeated, once a row.

-- name: with_key
SELECT execution FROM secrets WHERE execution IN (/*rows*/ ? /*end*/)

-- name: insert_key
INSERT INTO secrets (execution, key) VALUES /*rows*/ (?, ?) /*end*/

-- name: insert_values
INSERT INTO sealed_values (execution, commitment, ciphertext) VALUES /*rows*/ (?, ?, ?) /*end*/
ON CONFLICT (execution, commitment) DO NOTHING

-- name: erase_keys
DELETE FROM secrets WHERE execution IN (/*rows*/ ? /*end*/)

-- name: erase_values
DELETE FROM sealed_values WHERE execution IN (/*rows*/ ? /*end*/)

-- name: erase_letters
UPDATE dead_letters SET payload = CAST(v.column3 AS TEXT)
FROM (VALUES /*rows*/ (?, ?, ?) /*end*/) AS v WHERE id = v.column1 AND execution = v.column2

-- name: key
SELECT key FROM secrets WHERE execution = ?

-- name: values
SELECT s.commitment, s.ciphertext
FROM (VALUES /*rows*/ (?, ?) /*end*/) AS v
CROSS JOIN sealed_values AS s ON s.execution = v.column1 AND s.commitment = v.column2

-- name: page
SELECT commitment, ciphertext FROM sealed_values
WHERE execution = ? AND commitment > ? ORDER BY commitment LIMIT ?

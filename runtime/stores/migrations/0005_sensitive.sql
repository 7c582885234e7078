-- Sensitive values, apart from the events, which hold commitments to them: here they can be erased.

-- One for each execution that has sensitive values; without it they are nothing.
CREATE TABLE secrets (
    execution INTEGER PRIMARY KEY,
    key       BLOB NOT NULL
);

-- `commitment` is the SHA-256 that stands in the events as base64url.
CREATE TABLE sealed_values (
    execution  INTEGER NOT NULL,
    commitment BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    PRIMARY KEY (execution, commitment)
) WITHOUT ROWID;

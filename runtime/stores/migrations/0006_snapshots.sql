-- When each snapshot was made; 0: not known, as it was stored before this was.
ALTER TABLE snapshots ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;

-- The audit log.
CREATE TABLE audit_entry (
  number INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  account TEXT NOT NULL,
  operator TEXT NOT NULL,
  token_id TEXT NOT NULL,
  peer TEXT NOT NULL,
  method TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  previous BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;

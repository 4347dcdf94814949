-- Scheduled tasks and what became of their runs.

CREATE TABLE schedule (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  settled_until INTEGER, -- runs up to and with this instant were dealt with
  version INTEGER NOT NULL,
  document TEXT NOT NULL,
  UNIQUE (account, name)
) STRICT;

CREATE INDEX schedule_enabled ON schedule (id) WHERE enabled = 1;

CREATE TABLE schedule_run (
  schedule_id TEXT NOT NULL REFERENCES schedule,
  fire_at INTEGER NOT NULL, -- the instant for which it was
  ticket_id TEXT,
  document TEXT NOT NULL,
  PRIMARY KEY (schedule_id, fire_at)
) STRICT, WITHOUT ROWID;

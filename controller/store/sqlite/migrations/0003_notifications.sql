-- The outbox of notifications, and who can be told.

ALTER TABLE ticket ADD COLUMN notices INTEGER NOT NULL DEFAULT 0;

-- What happened and for whom it is meant; written in the transaction of what happened.
CREATE TABLE notice (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  at INTEGER NOT NULL,
  routed INTEGER NOT NULL, -- 1 once its messages are written
  document TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX notice_unrouted ON notice (at, id) WHERE routed = 0;
CREATE INDEX notice_oldest ON notice (at);

-- One notice for one person over one channel.
CREATE TABLE message (
  id TEXT PRIMARY KEY,
  notice_id TEXT NOT NULL REFERENCES notice,
  event TEXT NOT NULL,
  at INTEGER NOT NULL,
  account TEXT NOT NULL,
  contact TEXT NOT NULL,
  channel TEXT NOT NULL,
  address TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  since INTEGER,
  next_attempt_at INTEGER,
  sent_at INTEGER,
  error TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX message_due ON message (next_attempt_at, id) WHERE state = 'WAITING';
CREATE INDEX message_newest ON message (account, at, id);
CREATE INDEX message_notice ON message (notice_id);

CREATE TABLE contact (
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE shift (
  account TEXT NOT NULL,
  scenario TEXT NOT NULL,
  role TEXT NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (account, scenario, role)
) STRICT, WITHOUT ROWID;

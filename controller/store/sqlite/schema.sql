-- The truth about the embedded database. Times are microseconds since 1970 UTC, digests are 32 raw bytes, documents are
-- canonical JSON (controller/store/codec.py). Numbered migrations lead to exactly this; a test compares.

-- Hosts and how they and operators are let in -------------------------------------------------------------------------

CREATE TABLE instance (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  enterprise_project TEXT NOT NULL,
  region TEXT NOT NULL,
  zone TEXT NOT NULL,
  resource_type TEXT NOT NULL,
  application_group TEXT NOT NULL,
  enrolled_at INTEGER NOT NULL,
  tags TEXT NOT NULL,
  operating_system TEXT NOT NULL,
  ip_address TEXT NOT NULL,
  agent_version TEXT NOT NULL,
  machine_id TEXT NOT NULL,
  last_seen_at INTEGER,
  stopped INTEGER NOT NULL,
  deleted_at INTEGER,
  edited TEXT NOT NULL,
  cluster TEXT NOT NULL DEFAULT '',
  enrolled INTEGER NOT NULL DEFAULT 1,
  agent_said TEXT NOT NULL DEFAULT 'NONE',
  retired_at INTEGER,
  retired_by TEXT NOT NULL DEFAULT '',
  replaced_by TEXT,
  quarantine TEXT,
  cmdb TEXT,
  account TEXT NOT NULL DEFAULT 'default'
) STRICT, WITHOUT ROWID;

CREATE INDEX instance_name ON instance (name);

-- From where an instance's agent spoke, on which boot of which machine: two that overlap are two hosts.
CREATE TABLE sighting (
  instance_id TEXT NOT NULL,
  machine_id TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  address TEXT NOT NULL,
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  PRIMARY KEY (instance_id, machine_id, boot_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE enrolment_token (
  id TEXT PRIMARY KEY,
  secret_hash BLOB NOT NULL UNIQUE,
  note TEXT NOT NULL,
  placement TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  used_at INTEGER,
  used_by TEXT,
  revoked_at INTEGER,
  account TEXT NOT NULL DEFAULT 'default'
) STRICT, WITHOUT ROWID;

CREATE INDEX enrolment_token_newest ON enrolment_token (created_at, id);

-- Who operates -------------------------------------------------------------------------------------------------------

-- Tenants. "default" is always there: it manages the organization.
CREATE TABLE account (
  name TEXT PRIMARY KEY,
  created_at INTEGER, -- NULL for "default"
  created_by TEXT NOT NULL,
  note TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE operator_user (
  name TEXT PRIMARY KEY,
  account TEXT NOT NULL REFERENCES account,
  role TEXT NOT NULL,
  enterprise_projects TEXT NOT NULL, -- of its account; none means all
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  disabled_at INTEGER,
  disabled_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX operator_user_account ON operator_user (account, name);

CREATE TABLE operator_token (
  id TEXT PRIMARY KEY,
  secret_hash BLOB NOT NULL UNIQUE,
  user TEXT NOT NULL REFERENCES operator_user,
  role TEXT NOT NULL, -- at most this
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  note TEXT NOT NULL,
  expires_at INTEGER,
  last_used_at INTEGER,
  revoked_at INTEGER,
  revoked_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX operator_token_user ON operator_token (user, created_at, id);

-- One account's word that another may act on its instances. A name is used again only after the one before has ended.
CREATE TABLE agency (
  account TEXT NOT NULL REFERENCES account,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  trusted_account TEXT NOT NULL, -- need not exist
  permission TEXT NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  revoked_by TEXT NOT NULL,
  PRIMARY KEY (account, name, created_at)
) STRICT, WITHOUT ROWID;

CREATE INDEX agency_trusted ON agency (trusted_account, account, name);

-- What hosts say ------------------------------------------------------------------------------------------------------

-- Each build once: who gives the ids knows all builds by heart, so no index says it again. Rows are never deleted, so ids only grow.
CREATE TABLE package (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  version TEXT NOT NULL,
  release TEXT NOT NULL,
  arch TEXT NOT NULL,
  module TEXT NOT NULL
) STRICT;

-- Each distinct set of packages once. Sets of one image differ in few packages: most say only in which from their base.
CREATE TABLE snapshot (
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,
  base INTEGER REFERENCES snapshot, -- NULL, or a snapshot without a base
  bitmap BLOB NOT NULL -- a serialised roaring bitmap: the package ids; with a base, those that only one of both has
) STRICT;

-- Content by digest. Small documents of one fleet resemble each other: most are compressed with another as dictionary.
CREATE TABLE blob (
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  packing TEXT NOT NULL, -- plain, zstd, or file: too large for here, next to the database under its digest
  base INTEGER REFERENCES blob, -- the dictionary: NULL, or content without a base
  content BLOB -- NULL when it is a file
) STRICT;

-- Who said what when. The intervals of one instance do not overlap; of two that begin together the greater arrival came later.
CREATE TABLE report (
  instance_id TEXT NOT NULL REFERENCES instance,
  first_collected_at INTEGER NOT NULL,
  arrival INTEGER NOT NULL,
  collected_at INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  manifest INTEGER NOT NULL REFERENCES blob,
  snapshot INTEGER REFERENCES snapshot,
  ticket_id TEXT NOT NULL,
  PRIMARY KEY (instance_id, first_collected_at, arrival)
) STRICT, WITHOUT ROWID;

-- Where an instance ever had advisories: a repository that loses them must not look like one without updates (R11).
CREATE TABLE advisory_repository (
  instance_id TEXT NOT NULL REFERENCES instance,
  repository TEXT NOT NULL,
  PRIMARY KEY (instance_id, repository)
) STRICT, WITHOUT ROWID;

CREATE TABLE advisory_seen (
  id TEXT PRIMARY KEY,
  first_seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What they are judged by ---------------------------------------------------------------------------------------------

CREATE TABLE baseline (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL, -- of the newest version
  version INTEGER NOT NULL, -- the newest
  public INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  account TEXT NOT NULL DEFAULT 'default'
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX baseline_name ON baseline (account, name) WHERE NOT deleted;

CREATE TABLE baseline_version (
  baseline_id TEXT NOT NULL REFERENCES baseline,
  version INTEGER NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (baseline_id, version)
) STRICT, WITHOUT ROWID;

-- For whom a baseline decides. Rows are only added: of those with one key the last holds, defaults are of scope DEFAULT.
CREATE TABLE assignment (
  account TEXT NOT NULL,
  scope TEXT NOT NULL,
  value TEXT NOT NULL,
  scenario TEXT NOT NULL,
  operating_system TEXT NOT NULL,
  since INTEGER NOT NULL,
  arrival INTEGER NOT NULL, -- of two since one instant the greater holds
  baseline_id TEXT REFERENCES baseline, -- NULL takes the assignment back
  assigned_by TEXT NOT NULL,
  PRIMARY KEY (account, scope, value, scenario, operating_system, since, arrival)
) STRICT, WITHOUT ROWID;

CREATE INDEX assignment_baseline ON assignment (baseline_id);

CREATE TABLE exception (
  id TEXT PRIMARY KEY,
  version INTEGER NOT NULL UNIQUE, -- which all of them had when it was last written; the greatest is theirs now
  scope TEXT NOT NULL,
  scope_value TEXT NOT NULL,
  match TEXT NOT NULL,
  match_value TEXT NOT NULL,
  reason TEXT NOT NULL,
  approver TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  account TEXT NOT NULL DEFAULT 'default'
) STRICT, WITHOUT ROWID;

-- What of an instance may be non-compliant: name.arch of a package. An answer has hundreds of them, so it says their numbers.
CREATE TABLE item (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE
) STRICT;

-- The latest answer for each instance and baseline. With rowids: of rows this long, tables without them put each into pages of its own.
CREATE TABLE assessment (
  instance_id TEXT NOT NULL REFERENCES instance,
  baseline_id TEXT NOT NULL,
  document TEXT NOT NULL,
  since TEXT NOT NULL, -- since when which items are non-compliant: one document, as it is only ever read whole
  PRIMARY KEY (instance_id, baseline_id)
) STRICT;

-- The answer that decides. Not a mark on the row above: an ad-hoc scan with the same baseline may replace that one.
CREATE TABLE deciding (
  instance_id TEXT PRIMARY KEY REFERENCES instance,
  document TEXT NOT NULL,
  mark BLOB NOT NULL DEFAULT x'', -- stands for all that the answer depends on; empty: nobody said
  earliest INTEGER
) STRICT, WITHOUT ROWID;

-- Tickets -------------------------------------------------------------------------------------------------------------

CREATE TABLE ticket (
  number INTEGER PRIMARY KEY, -- what batches and runs refer to: a run's row stays small
  id TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  abnormal_cause TEXT,
  current INTEGER NOT NULL,
  forgiven INTEGER NOT NULL,
  ready INTEGER NOT NULL,
  processing INTEGER NOT NULL,
  succeeded INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  timeout INTEGER NOT NULL,
  unreachable INTEGER NOT NULL,
  skipped INTEGER NOT NULL,
  canceled INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  request_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  ended_at INTEGER,
  note TEXT NOT NULL,
  notices INTEGER NOT NULL DEFAULT 0,
  pardons INTEGER NOT NULL DEFAULT 0,
  gate TEXT NOT NULL DEFAULT 'OPEN',
  soak_until INTEGER,
  expires_at INTEGER,
  timed_out_at INTEGER,
  account TEXT NOT NULL DEFAULT 'default',
  enterprise_projects TEXT NOT NULL DEFAULT '[]', -- of its targets
  refused_accounts TEXT NOT NULL DEFAULT '[]' -- [account, agency, sentence] of those that no agency let in
) STRICT;

CREATE INDEX ticket_newest ON ticket (account, created_at, id);
CREATE UNIQUE INDEX ticket_request ON ticket (created_by, request_id) WHERE request_id <> '';
CREATE INDEX ticket_unfinished ON ticket (created_at, id)
  WHERE state IN ('READY', 'PROCESSING', 'PAUSED') OR processing > 0;

-- Apart from the ticket: it may name 100,000 hosts and never changes, while each event rewrites the ticket's row.
CREATE TABLE ticket_spec (
  ticket INTEGER PRIMARY KEY REFERENCES ticket,
  document TEXT NOT NULL
) STRICT;

CREATE TABLE batch (
  ticket INTEGER NOT NULL REFERENCES ticket,
  number INTEGER NOT NULL,
  state TEXT NOT NULL,
  region TEXT NOT NULL,
  zone TEXT NOT NULL,
  application_group TEXT NOT NULL,
  cursor INTEGER NOT NULL,
  ready INTEGER NOT NULL,
  processing INTEGER NOT NULL,
  succeeded INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  timeout INTEGER NOT NULL,
  unreachable INTEGER NOT NULL,
  skipped INTEGER NOT NULL,
  canceled INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  PRIMARY KEY (ticket, number)
) STRICT, WITHOUT ROWID;

-- Its rows in order of place are the members of the batch.
CREATE TABLE run (
  ticket INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  place INTEGER NOT NULL,
  instance_id TEXT NOT NULL,
  instance_name TEXT NOT NULL,
  state TEXT NOT NULL,
  outcome TEXT,
  error TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  sent_at INTEGER,
  deadline INTEGER,
  ended_at INTEGER,
  waits_for TEXT NOT NULL DEFAULT '',
  pardons INTEGER NOT NULL DEFAULT 0,
  log TEXT NOT NULL DEFAULT '', -- see store/run_log.py
  PRIMARY KEY (ticket, batch, place),
  UNIQUE (ticket, instance_id),
  FOREIGN KEY (ticket, batch) REFERENCES batch
) STRICT, WITHOUT ROWID;

-- Who is told what ----------------------------------------------------------------------------------------------------

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

-- Who changed what ----------------------------------------------------------------------------------------------------

-- Never changed, never deleted; each row's hash covers it and the one before (controller/audit/chain.py).
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

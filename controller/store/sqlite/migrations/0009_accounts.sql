-- Whose instances and enrolment tokens are, and who operates: accounts, their users, users' tokens, and agencies between accounts. All
-- that there was belongs to the account "default"; operators' tokens of one name become those of one user, as strong as the strongest.

ALTER TABLE instance ADD COLUMN account TEXT NOT NULL DEFAULT 'default';
ALTER TABLE enrolment_token ADD COLUMN account TEXT NOT NULL DEFAULT 'default';

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

CREATE TABLE operator_token_of_user (
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

INSERT INTO account (name, created_at, created_by, note) VALUES ('default', NULL, '', '');

INSERT INTO operator_user (name, account, role, enterprise_projects, created_at, created_by, disabled_at, disabled_by)
SELECT name, 'default',
  CASE WHEN sum(role = 'ADMIN') THEN 'ADMIN' WHEN sum(role = 'OPERATOR') THEN 'OPERATOR' ELSE 'VIEWER' END,
  '[]', min(created_at), '', NULL, ''
FROM operator_token
GROUP BY name;

INSERT INTO operator_token_of_user (id, secret_hash, user, role, created_at, created_by, note, expires_at, last_used_at,
  revoked_at, revoked_by)
SELECT id, secret_hash, name, role, created_at, '', '', expires_at, NULL, NULL, '' FROM operator_token;

DROP TABLE operator_token;
ALTER TABLE operator_token_of_user RENAME TO operator_token;

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

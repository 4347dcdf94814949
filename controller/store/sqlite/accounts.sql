-- add_account
INSERT INTO account (name, created_at, created_by, note) VALUES (:name, :created_at, :created_by, :note);

-- get_account
SELECT name, created_at, created_by, note FROM account WHERE name = :name;

-- accounts
SELECT name, created_at, created_by, note FROM account WHERE name > :after ORDER BY name LIMIT :limit;

-- add_user
INSERT INTO operator_user (name, account, role, enterprise_projects, created_at, created_by, disabled_at, disabled_by)
VALUES (:name, :account, :role, :enterprise_projects, :created_at, :created_by, :disabled_at, :disabled_by);

-- change_user
UPDATE operator_user SET role = :role, enterprise_projects = :enterprise_projects, disabled_at = :disabled_at,
  disabled_by = :disabled_by
WHERE name = :name;

-- get_user
SELECT name, account, role, enterprise_projects, created_at, created_by, disabled_at, disabled_by
FROM operator_user WHERE name = :name;

-- users
SELECT name, account, role, enterprise_projects, created_at, created_by, disabled_at, disabled_by
FROM operator_user
WHERE account = :account AND name > :after
ORDER BY name LIMIT :limit;

-- add_token
INSERT INTO operator_token (id, secret_hash, user, role, created_at, created_by, note, expires_at, last_used_at,
  revoked_at, revoked_by)
VALUES (:id, :secret_hash, :user, :role, :created_at, :created_by, :note, :expires_at, :last_used_at, :revoked_at,
  :revoked_by);

-- change_token
UPDATE operator_token SET expires_at = :expires_at, revoked_at = :revoked_at, revoked_by = :revoked_by WHERE id = :id;

-- get_token
SELECT id, secret_hash, user, role, created_at, created_by, note, expires_at, last_used_at, revoked_at, revoked_by
FROM operator_token WHERE id = :id;

-- find_token
SELECT t.id, t.secret_hash, t.user, t.role, t.created_at, t.created_by, t.note, t.expires_at, t.last_used_at,
  t.revoked_at, t.revoked_by,
  u.name, u.account, u.role, u.enterprise_projects, u.created_at, u.created_by, u.disabled_at, u.disabled_by
FROM operator_token t JOIN operator_user u ON u.name = t.user
WHERE t.secret_hash = :secret_hash;

-- tokens
SELECT t.id, t.secret_hash, t.user, t.role, t.created_at, t.created_by, t.note, t.expires_at, t.last_used_at,
  t.revoked_at, t.revoked_by
FROM operator_user u JOIN operator_token t ON t.user = u.name
WHERE u.account = :account AND (:users IS NULL OR u.name IN (SELECT value FROM json_each(:users)))
  AND (t.created_at, t.id) < (:before_at, :before_id)
ORDER BY t.created_at DESC, t.id DESC LIMIT :limit;

-- mark_used
UPDATE operator_token SET last_used_at = max(coalesce(last_used_at, :at), :at) WHERE id = :id;

-- has_tokens
SELECT EXISTS (SELECT 1 FROM operator_token);

-- agency_lives
SELECT EXISTS (
  SELECT 1 FROM agency
  WHERE account = :account AND name = :name AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :at)
);

-- add_agency
INSERT INTO agency (account, name, created_at, created_by, trusted_account, permission, expires_at, revoked_at,
  revoked_by)
VALUES (:account, :name, :created_at, :created_by, :trusted_account, :permission, :expires_at, :revoked_at,
  :revoked_by);

-- change_agency
UPDATE agency SET expires_at = :expires_at, revoked_at = :revoked_at, revoked_by = :revoked_by
WHERE account = :account AND name = :name AND created_at = :created_at;

-- get_agency
SELECT account, name, created_at, created_by, trusted_account, permission, expires_at, revoked_at, revoked_by
FROM agency
WHERE account = :account AND name = :name
ORDER BY created_at DESC LIMIT 1;

-- agencies
SELECT account, name, created_at, created_by, trusted_account, permission, expires_at, revoked_at, revoked_by
FROM agency
WHERE account = :account
ORDER BY account, name, created_at;

-- agencies_trusting
SELECT account, name, created_at, created_by, trusted_account, permission, expires_at, revoked_at, revoked_by
FROM agency
WHERE trusted_account = :account
ORDER BY account, name, created_at;

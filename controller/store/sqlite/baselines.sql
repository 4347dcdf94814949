-- put_version
INSERT INTO baseline_version (baseline_id, version, document) VALUES (:id, :version, :document);

-- put_head
INSERT INTO baseline (id, name, version, public, account, deleted)
VALUES (:id, :name, :version, :public, :account, 0)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, public = excluded.public
WHERE excluded.version > baseline.version;

-- is_taken
SELECT 1 FROM baseline
WHERE name = :name AND id <> :id AND NOT deleted AND (public OR :public OR account = :account) LIMIT 1;

-- is_deleted
SELECT deleted FROM baseline WHERE id = :id;

-- get_version
SELECT document FROM baseline_version WHERE baseline_id = :id AND version = :version;

-- get_newest
SELECT v.document FROM baseline b JOIN baseline_version v ON v.baseline_id = b.id AND v.version = b.version
WHERE b.id = :id;

-- find
SELECT v.document FROM baseline b JOIN baseline_version v ON v.baseline_id = b.id AND v.version = b.version
WHERE (b.id = :reference OR b.name = :reference) AND NOT b.deleted AND (b.public OR b.account = :account)
ORDER BY b.id = :reference DESC LIMIT 1;

-- list
SELECT v.document FROM baseline b JOIN baseline_version v ON v.baseline_id = b.id AND v.version = b.version
WHERE NOT b.deleted ORDER BY b.public DESC, b.name, b.id;

-- delete
UPDATE baseline SET deleted = 1 WHERE id = :id AND NOT deleted;

-- get_as_of
SELECT document FROM baseline_version
WHERE baseline_id = :id AND coalesce(json_extract(document, '$.created_at'), :at) <= :at ORDER BY version DESC LIMIT 1;

-- newest_assignment
SELECT account, scope, value, scenario, operating_system, since, baseline_id, assigned_by, arrival FROM assignment
WHERE account = :account AND scope = :scope AND value = :value AND scenario = :scenario AND operating_system = :operating_system
ORDER BY since DESC, arrival DESC LIMIT 1;

-- put_assignment
INSERT INTO assignment (account, scope, value, scenario, operating_system, since, arrival, baseline_id, assigned_by)
VALUES (:account, :scope, :value, :scenario, :operating_system, :since, :arrival, :baseline_id, :assigned_by);

-- assignments
SELECT account, scope, value, scenario, operating_system, since, baseline_id, assigned_by FROM (
  SELECT account, scope, value, scenario, operating_system, since, baseline_id, assigned_by, row_number() OVER (
    PARTITION BY account, scope, value, scenario, operating_system ORDER BY since DESC, arrival DESC
  ) AS place
  FROM assignment WHERE since <= :at
)
WHERE place = 1 AND baseline_id IS NOT NULL ORDER BY account, scope, value, scenario, operating_system;

-- put_exception
INSERT INTO exception (id, version, scope, scope_value, match, match_value, reason, approver, created_at, expires_at,
  revoked_at, account)
VALUES (:id, (SELECT coalesce(max(version), 0) + 1 FROM exception), :scope, :scope_value, :match, :match_value, :reason,
        :approver, :created_at, :expires_at, :revoked_at, :account)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, scope = excluded.scope, scope_value = excluded.scope_value,
  match = excluded.match, match_value = excluded.match_value, reason = excluded.reason, approver = excluded.approver,
  created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at,
  account = excluded.account;

-- exceptions
SELECT version, id, scope, scope_value, match, match_value, reason, approver, created_at, expires_at, revoked_at,
  account
FROM exception ORDER BY created_at, id;

-- put_instance
INSERT INTO instance (id, name, enterprise_project, region, zone, resource_type, application_group, enrolled_at,
  tags, operating_system, ip_address, agent_version, machine_id, last_seen_at, stopped, deleted_at, edited,
  cluster, enrolled, agent_said, retired_at, retired_by, replaced_by, quarantine, cmdb, account)
VALUES (:id, :name, :enterprise_project, :region, :zone, :resource_type, :application_group, :enrolled_at, :tags,
        :operating_system, :ip_address, :agent_version, :machine_id, :last_seen_at, :stopped, :deleted_at, :edited,
        :cluster, :enrolled, :agent_said, :retired_at, :retired_by, :replaced_by, :quarantine, :cmdb, :account)
ON CONFLICT (id) DO UPDATE SET
  name = excluded.name, enterprise_project = excluded.enterprise_project, region = excluded.region,
  zone = excluded.zone, resource_type = excluded.resource_type, application_group = excluded.application_group,
  enrolled_at = excluded.enrolled_at, tags = excluded.tags, operating_system = excluded.operating_system,
  ip_address = excluded.ip_address, agent_version = excluded.agent_version, machine_id = excluded.machine_id,
  last_seen_at = excluded.last_seen_at, stopped = excluded.stopped, deleted_at = excluded.deleted_at,
  edited = excluded.edited, cluster = excluded.cluster, enrolled = excluded.enrolled,
  agent_said = excluded.agent_said, retired_at = excluded.retired_at, retired_by = excluded.retired_by,
  replaced_by = excluded.replaced_by, quarantine = excluded.quarantine, cmdb = excluded.cmdb, account = excluded.account;

-- get_instance
SELECT id, name, enterprise_project, region, zone, resource_type, application_group, enrolled_at, tags,
  operating_system, ip_address, agent_version, machine_id, last_seen_at, stopped, deleted_at, edited,
  cluster, enrolled, agent_said, retired_at, retired_by, replaced_by, quarantine, cmdb, account
FROM instance
WHERE id = :id;

-- called
SELECT id, name, enterprise_project, region, zone, resource_type, application_group, enrolled_at, tags,
  operating_system, ip_address, agent_version, machine_id, last_seen_at, stopped, deleted_at, edited,
  cluster, enrolled, agent_said, retired_at, retired_by, replaced_by, quarantine, cmdb, account
FROM instance
WHERE (id = :reference OR name = :reference) AND deleted_at IS NULL AND retired_at IS NULL
ORDER BY name, id;

-- instances
SELECT id, name, enterprise_project, region, zone, resource_type, application_group, enrolled_at, tags,
  operating_system, ip_address, agent_version, machine_id, last_seen_at, stopped, deleted_at, edited,
  cluster, enrolled, agent_said, retired_at, retired_by, replaced_by, quarantine, cmdb, account
FROM instance
WHERE deleted_at IS NULL AND retired_at IS NULL
ORDER BY name, id;

-- retired_instances
SELECT id, name, enterprise_project, region, zone, resource_type, application_group, enrolled_at, tags,
  operating_system, ip_address, agent_version, machine_id, last_seen_at, stopped, deleted_at, edited,
  cluster, enrolled, agent_said, retired_at, retired_by, replaced_by, quarantine, cmdb, account
FROM instance
WHERE deleted_at IS NULL AND retired_at IS NOT NULL
ORDER BY name, id;

-- all_instances
SELECT id, name, enterprise_project, region, zone, resource_type, application_group, enrolled_at, tags,
  operating_system, ip_address, agent_version, machine_id, last_seen_at, stopped, deleted_at, edited,
  cluster, enrolled, agent_said, retired_at, retired_by, replaced_by, quarantine, cmdb, account
FROM instance
WHERE deleted_at IS NULL
ORDER BY name, id;

-- mark_seen
UPDATE instance SET last_seen_at = :at WHERE id = :id;

-- adopt_instance
UPDATE instance SET deleted_at = :at WHERE id = :id AND enrolled = 0;

-- put_enrolment_token
INSERT INTO enrolment_token (id, secret_hash, note, placement, created_by, created_at, expires_at, used_at, used_by,
  revoked_at, account)
VALUES (:id, :secret_hash, :note, :placement, :created_by, :created_at, :expires_at, :used_at, :used_by, :revoked_at,
  :account)
ON CONFLICT (id) DO UPDATE SET
  secret_hash = excluded.secret_hash, note = excluded.note, placement = excluded.placement,
  created_by = excluded.created_by, created_at = excluded.created_at, expires_at = excluded.expires_at,
  used_at = excluded.used_at, used_by = excluded.used_by, revoked_at = excluded.revoked_at,
  account = excluded.account;

-- get_enrolment_token
SELECT id, secret_hash, note, placement, created_by, created_at, expires_at, used_at, used_by, revoked_at, account
FROM enrolment_token
WHERE id = :id;

-- find_enrolment_token
SELECT id, secret_hash, note, placement, created_by, created_at, expires_at, used_at, used_by, revoked_at, account
FROM enrolment_token
WHERE secret_hash = :secret_hash;

-- enrolment_tokens
SELECT id, secret_hash, note, placement, created_by, created_at, expires_at, used_at, used_by, revoked_at, account
FROM enrolment_token
WHERE (created_at, id) < (:before_at, :before_id) ORDER BY created_at DESC, id DESC LIMIT :limit;

-- is_known
SELECT EXISTS (SELECT 1 FROM blob WHERE digest = :digest) OR EXISTS (SELECT 1 FROM snapshot WHERE digest = :digest);

-- get_snapshot
SELECT bitmap FROM snapshot WHERE digest = :digest;

-- put_snapshot
INSERT INTO snapshot (digest, bitmap) VALUES (:digest, :bitmap);

-- packages
SELECT id, name, epoch, version, release, arch, module, evr_key
FROM package
WHERE id IN (SELECT value
FROM json_each(:ids))
ORDER BY id;

-- packages_after
SELECT id, name, epoch, version, release, arch, module, evr_key FROM package WHERE id > :id ORDER BY id;

-- package_lines
SELECT id, name, epoch, version, release, arch, module FROM package;

-- put_package
INSERT INTO package (name, epoch, version, release, arch, module, evr_key)
VALUES (:name, :epoch, :version, :release, :arch, :module, :evr_key);

-- has_instance
SELECT 1 FROM instance WHERE id = :instance_id;

-- has_manifest
SELECT 1 FROM blob WHERE digest = :manifest_digest;

-- has_snapshot
SELECT 1 FROM snapshot WHERE digest = :inventory_digest;

-- begun_by
SELECT instance_id, manifest_digest, inventory_digest, first_collected_at, collected_at, received_at, ticket_id, id
FROM report
WHERE instance_id = :instance_id AND first_collected_at <= :at
ORDER BY first_collected_at DESC, id DESC LIMIT 1;

-- begun_after
SELECT instance_id, manifest_digest, inventory_digest, first_collected_at, collected_at, received_at, ticket_id, id
FROM report
WHERE instance_id = :instance_id AND first_collected_at > :at
ORDER BY first_collected_at, id LIMIT 1;

-- latest
SELECT instance_id, manifest_digest, inventory_digest, first_collected_at, collected_at, received_at, ticket_id
FROM report
WHERE instance_id = :instance_id
ORDER BY first_collected_at DESC, id DESC LIMIT 1;

-- all_latest
SELECT instance_id, manifest_digest, inventory_digest, first_collected_at, collected_at, received_at, ticket_id
FROM report
WHERE id IN (
  SELECT (SELECT r.id FROM report r WHERE r.instance_id = i.id
          ORDER BY r.first_collected_at DESC, r.id DESC LIMIT 1)
  FROM instance i WHERE i.deleted_at IS NULL
) ORDER BY instance_id;

-- add_report
INSERT INTO report (instance_id, manifest_digest, inventory_digest, first_collected_at, collected_at, received_at,
  ticket_id)
VALUES (:instance_id, :manifest_digest, :inventory_digest, :first_collected_at, :collected_at, :received_at,
  :ticket_id);

-- change_report
UPDATE report SET first_collected_at = :first_collected_at, collected_at = :collected_at,
  received_at = :received_at, ticket_id = :ticket_id
WHERE id = :id;

-- see_advisory
INSERT INTO advisory_seen (id, first_seen_at) VALUES (:id, :at)
ON CONFLICT (id) DO UPDATE SET first_seen_at = excluded.first_seen_at
WHERE excluded.first_seen_at < advisory_seen.first_seen_at;

-- first_seen
SELECT id, first_seen_at FROM advisory_seen WHERE id IN (SELECT value FROM json_each(:ids));

-- advisory_repositories
SELECT repository FROM advisory_repository WHERE instance_id = :instance_id;

-- add_advisory_repository
INSERT INTO advisory_repository (instance_id, repository) VALUES (:instance_id, :repository) ON CONFLICT DO NOTHING;

-- put_version
INSERT INTO baseline_version (baseline_id, version, document) VALUES (:id, :version, :document);

-- put_head
INSERT INTO baseline (id, name, version, public, deleted) VALUES (:id, :name, :version, :public, 0)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, public = excluded.public
WHERE excluded.version > baseline.version;

-- is_deleted
SELECT deleted FROM baseline WHERE id = :id;

-- get_version
SELECT document FROM baseline_version WHERE baseline_id = :id AND version = :version;

-- get_newest
SELECT v.document FROM baseline b JOIN baseline_version v ON v.baseline_id = b.id AND v.version = b.version
WHERE b.id = :id;

-- find
SELECT v.document FROM baseline b JOIN baseline_version v ON v.baseline_id = b.id AND v.version = b.version
WHERE (b.id = :reference OR b.name = :reference) AND NOT b.deleted ORDER BY b.id = :reference DESC LIMIT 1;

-- list
SELECT v.document FROM baseline b JOIN baseline_version v ON v.baseline_id = b.id AND v.version = b.version
WHERE NOT b.deleted ORDER BY b.public DESC, b.name;

-- delete
UPDATE baseline SET deleted = 1 WHERE id = :id AND NOT deleted;

-- delete_default
DELETE FROM baseline_default WHERE baseline_id = :id;

-- set_default
INSERT INTO baseline_default (scenario, operating_system, baseline_id) VALUES (:scenario, :operating_system, :id)
ON CONFLICT (scenario, operating_system) DO UPDATE SET baseline_id = excluded.baseline_id;

-- defaults
SELECT scenario, operating_system, baseline_id FROM baseline_default;

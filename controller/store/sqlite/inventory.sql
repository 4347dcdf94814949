-- all_digests
SELECT digest FROM blob UNION ALL SELECT digest FROM snapshot LIMIT :limit;

-- known
WITH RECURSIVE asked (at, digest) AS (
  SELECT 1, substr(:digests, 1, :size)
  UNION ALL SELECT at + :size, substr(:digests, at + :size, :size) FROM asked WHERE at + :size <= length(:digests))
SELECT digest FROM asked a
WHERE EXISTS (SELECT 1 FROM blob b WHERE b.digest = a.digest) OR EXISTS (SELECT 1 FROM snapshot s WHERE s.digest = a.digest);

-- has_instance
SELECT 1 FROM instance WHERE id = :instance_id;

-- has_contents
SELECT EXISTS (SELECT 1 FROM instance WHERE id = :instance_id),
  EXISTS (SELECT 1 FROM blob WHERE digest = :manifest_digest),
  EXISTS (SELECT 1 FROM snapshot WHERE digest = :inventory_digest);

-- begun_by
SELECT r.instance_id, m.digest, s.digest, r.first_collected_at, r.collected_at, r.received_at, r.ticket_id, r.arrival
FROM report r JOIN blob m ON m.id = r.manifest LEFT JOIN snapshot s ON s.id = r.snapshot
WHERE r.instance_id = :instance_id AND r.first_collected_at <= :at
ORDER BY r.first_collected_at DESC, r.arrival DESC LIMIT 1;

-- neighbours
SELECT * FROM (
  SELECT r.instance_id, m.digest, s.digest, r.first_collected_at, r.collected_at, r.received_at, r.ticket_id, r.arrival
  FROM report r JOIN blob m ON m.id = r.manifest LEFT JOIN snapshot s ON s.id = r.snapshot
  WHERE r.instance_id = :instance_id AND r.first_collected_at <= :at
  ORDER BY r.first_collected_at DESC, r.arrival DESC LIMIT 1)
UNION ALL
SELECT * FROM (
  SELECT r.instance_id, m.digest, s.digest, r.first_collected_at, r.collected_at, r.received_at, r.ticket_id, r.arrival
  FROM report r JOIN blob m ON m.id = r.manifest LEFT JOIN snapshot s ON s.id = r.snapshot
  WHERE r.instance_id = :instance_id AND r.first_collected_at > :at
  ORDER BY r.first_collected_at, r.arrival LIMIT 1);

-- latest
SELECT r.instance_id, m.digest, s.digest, r.first_collected_at, r.collected_at, r.received_at, r.ticket_id
FROM report r JOIN blob m ON m.id = r.manifest LEFT JOIN snapshot s ON s.id = r.snapshot
WHERE r.instance_id = :instance_id
ORDER BY r.first_collected_at DESC, r.arrival DESC LIMIT 1;

-- all_latest
SELECT r.instance_id, m.digest, s.digest, r.first_collected_at, r.collected_at, r.received_at, r.ticket_id
FROM instance i
JOIN report r ON r.instance_id = i.id AND (r.first_collected_at, r.arrival) = (
  SELECT l.first_collected_at, l.arrival FROM report l WHERE l.instance_id = i.id
  ORDER BY l.first_collected_at DESC, l.arrival DESC LIMIT 1)
JOIN blob m ON m.id = r.manifest
LEFT JOIN snapshot s ON s.id = r.snapshot
WHERE i.deleted_at IS NULL ORDER BY i.id;

-- next_arrival
SELECT coalesce(max(arrival) + 1, 0) FROM report
WHERE instance_id = :instance_id AND first_collected_at = :first_collected_at;

-- add_report
-- No blob and no snapshot has the number 0: a digest that is not there breaks a reference, where NULL would say that none was named.
INSERT INTO report (instance_id, first_collected_at, arrival, collected_at, received_at, manifest, snapshot, ticket_id)
VALUES (:instance_id, :first_collected_at, :arrival, :collected_at, :received_at,
  coalesce((SELECT id FROM blob WHERE digest = :manifest_digest), 0),
  CASE WHEN :inventory_digest IS NOT NULL THEN coalesce((SELECT id FROM snapshot WHERE digest = :inventory_digest), 0) END,
  :ticket_id);

-- stretch_report
UPDATE report SET collected_at = :collected_at, received_at = :received_at, ticket_id = :ticket_id
WHERE instance_id = :instance_id AND first_collected_at = :first_collected_at AND arrival = :arrival;

-- begin_earlier
UPDATE report SET first_collected_at = :first_collected_at, arrival = :arrival
WHERE instance_id = :instance_id AND first_collected_at = :was_first AND arrival = :was_arrival;

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

-- repeat
UPDATE report SET collected_at = said.collected_at, received_at = said.received_at, ticket_id = said.ticket_id
FROM (
  SELECT value ->> 0 AS instance_id, value ->> 1 AS first_collected_at, value ->> 2 AS collected_at, value ->> 3 AS received_at,
    value ->> 4 AS ticket_id, substr(:manifests, 1 + key * :size, :size) AS manifest_digest
  FROM json_each(:reports)) AS said
WHERE report.instance_id = said.instance_id AND report.first_collected_at = said.first_collected_at
  AND report.collected_at <= said.collected_at
  AND report.manifest = (SELECT id FROM blob WHERE digest = said.manifest_digest)
  AND NOT EXISTS (
    SELECT 1 FROM report l WHERE l.instance_id = report.instance_id
      AND (l.first_collected_at, l.arrival) > (report.first_collected_at, report.arrival));

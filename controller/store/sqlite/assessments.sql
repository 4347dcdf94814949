-- has_instance
SELECT 1 FROM instance WHERE id = :instance_id;

-- since
SELECT since FROM assessment WHERE instance_id = :instance_id AND baseline_id = :baseline_id;

-- put
INSERT INTO assessment (instance_id, baseline_id, document, since)
VALUES (:instance_id, :baseline_id, :document, :since)
ON CONFLICT (instance_id, baseline_id) DO UPDATE SET document = excluded.document, since = excluded.since;

-- put_deciding
INSERT INTO deciding (instance_id, document, mark, earliest) VALUES (:instance_id, :document, :mark, :earliest)
ON CONFLICT (instance_id) DO UPDATE
SET document = excluded.document, mark = excluded.mark, earliest = excluded.earliest;

-- get
SELECT document FROM assessment WHERE instance_id = :instance_id AND baseline_id = :baseline_id;

-- deciding
SELECT document FROM deciding WHERE instance_id = :instance_id;

-- all_deciding
SELECT d.document, d.mark, d.earliest FROM deciding d JOIN instance i ON i.id = d.instance_id
WHERE i.deleted_at IS NULL ORDER BY d.instance_id;

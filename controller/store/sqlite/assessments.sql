-- has_instance
SELECT 1 FROM instance WHERE id = :instance_id;

-- since
SELECT since FROM assessment WHERE instance_id = :instance_id AND baseline_id = :baseline_id;

-- since_by_key
SELECT CAST(s.key AS INTEGER), json_group_array(i.key)
FROM assessment a, json_each(a.since) s, json_each(s.value) n JOIN item i ON i.id = n.value
WHERE a.instance_id = :instance_id AND a.baseline_id = :baseline_id GROUP BY s.key;

-- items
SELECT key, id FROM item;

-- add_item
INSERT INTO item (key) VALUES (:key);

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

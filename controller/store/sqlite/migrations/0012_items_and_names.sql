-- Since when items are non-compliant is said by their numbers: their names took nine tenths of a database. Both ways in which it was
-- written are read: {instant: [item, ...]}, and at first {item: instant}.

CREATE TABLE item (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE
) STRICT;

INSERT INTO item (key)
SELECT DISTINCT CASE s.type WHEN 'array' THEN i.value ELSE s.key END
FROM assessment a, json_each(a.since) s, json_each(CASE s.type WHEN 'array' THEN s.value ELSE '[0]' END) i
WHERE true ORDER BY 1;

-- And as a table with rowids, which stores rows of this length in half the room.
CREATE TABLE new_assessment (
  instance_id TEXT NOT NULL REFERENCES instance,
  baseline_id TEXT NOT NULL,
  document TEXT NOT NULL,
  since TEXT NOT NULL,
  PRIMARY KEY (instance_id, baseline_id)
) STRICT;

INSERT INTO new_assessment SELECT a.instance_id, a.baseline_id, a.document, (
  SELECT json_group_object(begun, json(numbers)) FROM (
    SELECT CASE s.type WHEN 'array' THEN s.key ELSE CAST(s.value AS TEXT) END AS begun, json_group_array(n.id) AS numbers
    FROM json_each(a.since) s
    JOIN json_each(CASE s.type WHEN 'array' THEN s.value ELSE '[0]' END) i
    JOIN item n ON n.key = CASE s.type WHEN 'array' THEN i.value ELSE s.key END
    GROUP BY 1))
FROM assessment a;

DROP TABLE assessment;
ALTER TABLE new_assessment RENAME TO assessment;

-- An instance is found by its name without a look at all of them.
CREATE INDEX instance_name ON instance (name);

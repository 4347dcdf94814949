-- add
INSERT INTO schedule (id, account, name, enabled, settled_until, version, document)
VALUES (:id, :account, :name, :enabled, :settled_until, :version, :document);

-- change
UPDATE schedule SET name = :name, enabled = :enabled, settled_until = :settled_until, version = :version,
  document = :document
WHERE id = :id;

-- get
SELECT enabled, settled_until, version, document FROM schedule WHERE id = :id;

-- find
SELECT enabled, settled_until, version, document FROM schedule
WHERE account = :account AND :reference IN (id, name)
ORDER BY id <> :reference LIMIT 1;

-- tasks
SELECT enabled, settled_until, version, document FROM schedule
WHERE account = :account AND name > :after
ORDER BY name LIMIT :limit;

-- enabled
SELECT enabled, settled_until, version, document FROM schedule WHERE enabled = 1 ORDER BY id;

-- delete
DELETE FROM schedule WHERE id = :id;

-- delete_runs
DELETE FROM schedule_run WHERE schedule_id = :id;

-- settle
UPDATE schedule SET settled_until = max(coalesce(settled_until, :until), :until) WHERE id = :id;

-- add_run
INSERT INTO schedule_run (schedule_id, fire_at, ticket_id, document)
VALUES (:schedule_id, :fire_at, :ticket_id, :document)
ON CONFLICT (schedule_id, fire_at) DO NOTHING;

-- trim_runs
DELETE FROM schedule_run
WHERE schedule_id = :id AND fire_at <= (
  SELECT fire_at FROM schedule_run WHERE schedule_id = :id ORDER BY fire_at DESC LIMIT 1 OFFSET :keep
);

-- runs
SELECT document FROM schedule_run WHERE schedule_id = :id AND fire_at < :before ORDER BY fire_at DESC LIMIT :limit;

-- latest_tickets
SELECT ticket_id FROM schedule_run
WHERE schedule_id = :id AND ticket_id IS NOT NULL
ORDER BY fire_at DESC LIMIT :limit;

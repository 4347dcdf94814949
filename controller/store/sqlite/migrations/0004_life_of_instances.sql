-- Instances that the CMDB knows, that are retired, replaced or in quarantine; and where agents were seen.

ALTER TABLE instance ADD COLUMN cluster TEXT NOT NULL DEFAULT '';
ALTER TABLE instance ADD COLUMN enrolled INTEGER NOT NULL DEFAULT 1;
ALTER TABLE instance ADD COLUMN agent_said TEXT NOT NULL DEFAULT 'NONE';
ALTER TABLE instance ADD COLUMN retired_at INTEGER;
ALTER TABLE instance ADD COLUMN retired_by TEXT NOT NULL DEFAULT '';
ALTER TABLE instance ADD COLUMN replaced_by TEXT;
ALTER TABLE instance ADD COLUMN quarantine TEXT;
ALTER TABLE instance ADD COLUMN cmdb TEXT;

-- From where an instance's agent spoke, on which boot of which machine: two that overlap are two hosts.
CREATE TABLE sighting (
  instance_id TEXT NOT NULL,
  machine_id TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  address TEXT NOT NULL,
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  PRIMARY KEY (instance_id, machine_id, boot_id)
) STRICT, WITHOUT ROWID;

-- Whose baselines, assignments, exceptions and tickets are. All there were belong to the account "default".

ALTER TABLE baseline ADD COLUMN account TEXT NOT NULL DEFAULT 'default';
DROP INDEX baseline_name;
CREATE UNIQUE INDEX baseline_name ON baseline (account, name) WHERE NOT deleted;

ALTER TABLE exception ADD COLUMN account TEXT NOT NULL DEFAULT 'default';

ALTER TABLE assignment RENAME TO assignment_before;
CREATE TABLE assignment (
  account TEXT NOT NULL,
  scope TEXT NOT NULL,
  value TEXT NOT NULL,
  scenario TEXT NOT NULL,
  operating_system TEXT NOT NULL,
  since INTEGER NOT NULL,
  arrival INTEGER NOT NULL,
  baseline_id TEXT REFERENCES baseline,
  assigned_by TEXT NOT NULL,
  PRIMARY KEY (account, scope, value, scenario, operating_system, since, arrival)
) STRICT, WITHOUT ROWID;
INSERT INTO assignment SELECT 'default', scope, value, scenario, operating_system, since, arrival, baseline_id, assigned_by
FROM assignment_before;
DROP TABLE assignment_before;
CREATE INDEX assignment_baseline ON assignment (baseline_id);

ALTER TABLE ticket ADD COLUMN account TEXT NOT NULL DEFAULT 'default';
ALTER TABLE ticket ADD COLUMN enterprise_projects TEXT NOT NULL DEFAULT '[]'; -- of its targets
-- [account, agency, sentence] of those that no agency let in
ALTER TABLE ticket ADD COLUMN refused_accounts TEXT NOT NULL DEFAULT '[]';
DROP INDEX ticket_newest;
CREATE INDEX ticket_newest ON ticket (account, created_at, id);

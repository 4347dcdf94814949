-- Baselines are assigned to more than everybody, with a history; exceptions.

-- For whom a baseline decides. Rows are only added: of those with one key the last holds, defaults are of scope DEFAULT.
CREATE TABLE assignment (
  scope TEXT NOT NULL,
  value TEXT NOT NULL,
  scenario TEXT NOT NULL,
  operating_system TEXT NOT NULL,
  since INTEGER NOT NULL,
  arrival INTEGER NOT NULL, -- of two since one instant the greater holds
  baseline_id TEXT REFERENCES baseline, -- NULL takes the assignment back
  assigned_by TEXT NOT NULL,
  PRIMARY KEY (scope, value, scenario, operating_system, since, arrival)
) STRICT, WITHOUT ROWID;

CREATE INDEX assignment_baseline ON assignment (baseline_id);

CREATE TABLE exception (
  id TEXT PRIMARY KEY,
  version INTEGER NOT NULL UNIQUE, -- which all of them had when it was last written; the greatest is theirs now
  scope TEXT NOT NULL,
  scope_value TEXT NOT NULL,
  match TEXT NOT NULL,
  match_value TEXT NOT NULL,
  reason TEXT NOT NULL,
  approver TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;

-- Since when a default holds nobody wrote down: since the beginning of time, the year 1.
INSERT INTO assignment (scope, value, scenario, operating_system, since, arrival, baseline_id, assigned_by)
SELECT 'DEFAULT', '', scenario, operating_system, -62135596800000000, 1, baseline_id, '' FROM baseline_default;

DROP TABLE baseline_default;

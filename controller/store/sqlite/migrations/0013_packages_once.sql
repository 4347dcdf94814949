-- That each build stands once is seen to where builds get their ids, from all of them in memory: an index over all columns said the
-- same again, was as large as the table, and cost most of what a new build costs.

CREATE TABLE package_new (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  version TEXT NOT NULL,
  release TEXT NOT NULL,
  arch TEXT NOT NULL,
  module TEXT NOT NULL
) STRICT;

INSERT INTO package_new SELECT id, name, epoch, version, release, arch, module FROM package;
DROP TABLE package;
ALTER TABLE package_new RENAME TO package;

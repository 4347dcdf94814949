-- Tickets that wait, between batches, for their canary, for agents or for each other; and the log of each run.

ALTER TABLE ticket ADD COLUMN pardons INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ticket ADD COLUMN gate TEXT NOT NULL DEFAULT 'OPEN';
ALTER TABLE ticket ADD COLUMN soak_until INTEGER;
ALTER TABLE ticket ADD COLUMN expires_at INTEGER;
ALTER TABLE ticket ADD COLUMN timed_out_at INTEGER;
ALTER TABLE run ADD COLUMN waits_for TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN pardons INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN log TEXT NOT NULL DEFAULT '';

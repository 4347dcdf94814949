-- Under which mark an answer was given, so that it can be taken up after a restart, and since when its oldest item stands.

ALTER TABLE deciding ADD COLUMN mark BLOB NOT NULL DEFAULT x'';
ALTER TABLE deciding ADD COLUMN earliest INTEGER;

-- The key of a version follows from the version: it is made when packages are read.

ALTER TABLE package DROP COLUMN evr_key;

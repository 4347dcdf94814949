-- get
SELECT s.bitmap, b.bitmap FROM snapshot s LEFT JOIN snapshot b ON b.id = s.base WHERE s.digest = :digest;

-- put
INSERT INTO snapshot (digest, base, bitmap) VALUES (:digest, :base, :bitmap);

-- bases
SELECT id, bitmap FROM snapshot WHERE base IS NULL ORDER BY id DESC LIMIT :count;

-- packages
SELECT id, name, epoch, version, release, arch, module FROM package
WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY id;

-- packages_after
SELECT id, name, epoch, version, release, arch, module FROM package WHERE id > :id ORDER BY id;

-- put_package
INSERT INTO package (id, name, epoch, version, release, arch, module) VALUES (?, ?, ?, ?, ?, ?, ?);

-- last
SELECT (SELECT coalesce(max(id), 0) FROM package), (SELECT coalesce(max(id), 0) FROM snapshot);

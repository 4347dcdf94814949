-- has
SELECT 1 FROM blob WHERE digest = :digest;

-- get
SELECT b.size, b.packing, b.content, d.packing, d.size, d.content
FROM blob b LEFT JOIN blob d ON d.id = b.base WHERE b.digest = :digest;

-- put
INSERT INTO blob (digest, size, packing, base, content) VALUES (:digest, :size, :packing, :base, :content)
ON CONFLICT (digest) DO NOTHING;

-- bases
SELECT id, size, content FROM blob WHERE base IS NULL AND packing = 'zstd' AND size <= :limit ORDER BY id DESC LIMIT :count;

-- last
SELECT coalesce(max(id), 0) FROM blob;

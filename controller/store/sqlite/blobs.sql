-- has
SELECT 1 FROM blob WHERE digest = :digest;

-- get
SELECT size, packing, content FROM blob WHERE digest = :digest;

-- put
INSERT INTO blob (digest, size, packing, content) VALUES (:digest, :size, :packing, :content)
ON CONFLICT (digest) DO NOTHING;

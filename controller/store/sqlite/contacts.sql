-- put_contact
INSERT INTO contact (account, name, document) VALUES (:account, :name, :document)
ON CONFLICT (account, name) DO UPDATE SET document = excluded.document;

-- get_contact
SELECT document FROM contact WHERE account = :account AND name = :name;

-- contacts
SELECT document FROM contact WHERE account = :account ORDER BY name;

-- delete_contact
DELETE FROM contact WHERE account = :account AND name = :name RETURNING name;

-- put_shift
INSERT INTO shift (account, scenario, role, document) VALUES (:account, :scenario, :role, :document)
ON CONFLICT (account, scenario, role) DO UPDATE SET document = excluded.document;

-- get_shift
SELECT document FROM shift WHERE account = :account AND scenario = :scenario AND role = :role;

-- shifts
SELECT document FROM shift WHERE account = :account ORDER BY scenario, role;

-- delete_shift
DELETE FROM shift WHERE account = :account AND scenario = :scenario AND role = :role RETURNING role;

-- head
SELECT number, hash FROM audit_entry ORDER BY number DESC LIMIT 1;

-- append
INSERT INTO audit_entry (number, at, kind, account, operator, token_id, peer, method, subject, detail, attempt, previous, hash)
VALUES (:number, :at, :kind, :account, :operator, :token_id, :peer, :method, :subject, :detail, :attempt, :previous, :hash);

-- entries_after
SELECT number, at, kind, account, operator, token_id, peer, method, subject, detail, attempt, previous, hash
FROM audit_entry WHERE number > :number ORDER BY number LIMIT :limit;

-- newest
SELECT number, at, kind, account, operator, token_id, peer, method, subject, detail, attempt, previous, hash
FROM audit_entry
WHERE number < :before
  AND (:account IS NULL OR account = :account)
  AND (:operator = '' OR operator = :operator)
  AND (:method = '' OR instr(lower(method), :method) > 0)
  AND (:subject = '' OR subject = :subject)
  AND (:since IS NULL OR at >= :since)
  AND (:until IS NULL OR at < :until)
ORDER BY number DESC LIMIT :limit;

-- add_notice
INSERT INTO notice (id, account, at, routed, document) VALUES (:id, :account, :at, 0, :document)
ON CONFLICT (id) DO NOTHING;

-- unrouted
SELECT document FROM notice WHERE routed = 0 ORDER BY at, id LIMIT :limit;

-- get_notice
SELECT document FROM notice WHERE id = :id;

-- mark
UPDATE notice SET routed = :routed WHERE id = :id RETURNING id;

-- drop_unreachable
DELETE FROM message WHERE notice_id = :notice_id AND state = 'GIVEN_UP' AND address = '';

-- add_message
INSERT INTO message (id, notice_id, event, at, account, contact, channel, address, state, attempts, since,
  next_attempt_at, sent_at, error)
VALUES (:id, :notice_id, :event, :at, :account, :contact, :channel, :address, :state, :attempts, :since,
        :next_attempt_at, :sent_at, :error)
ON CONFLICT (id) DO NOTHING;

-- change_message
UPDATE message SET address = :address, state = :state, attempts = :attempts, since = :since,
  next_attempt_at = :next_attempt_at, sent_at = :sent_at, error = :error
WHERE id = :id;

-- get_message
SELECT id, notice_id, event, at, account, contact, channel, address, state, attempts, since, next_attempt_at, sent_at,
  error
FROM message WHERE id = :id;

-- due
SELECT id, notice_id, event, at, account, contact, channel, address, state, attempts, since, next_attempt_at, sent_at,
  error
FROM message WHERE state = 'WAITING' AND next_attempt_at <= :at
ORDER BY next_attempt_at, id LIMIT :limit;

-- next_due
SELECT min(next_attempt_at) FROM message WHERE state = 'WAITING';

-- messages
SELECT id, notice_id, event, at, account, contact, channel, address, state, attempts, since, next_attempt_at, sent_at,
  error
FROM message
WHERE account = :account AND (at, id) < (:before_at, :before_id)
  AND (:states = '[]' OR state IN (SELECT value FROM json_each(:states)))
ORDER BY at DESC, id DESC LIMIT :limit;

-- forget_messages
DELETE FROM message WHERE notice_id IN (
  SELECT n.id FROM notice n WHERE n.at < :before AND n.routed = 1
    AND NOT EXISTS (SELECT 1 FROM message m WHERE m.notice_id = n.id AND m.state = 'WAITING')
);

-- forget_notices
DELETE FROM notice WHERE at < :before AND routed = 1
  AND NOT EXISTS (SELECT 1 FROM message m WHERE m.notice_id = notice.id);

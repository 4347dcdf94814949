-- add
INSERT INTO ticket (ready, processing, succeeded, failed, timeout, unreachable, skipped, canceled, id, version,
  state, abnormal_cause, current, forgiven, created_by, request_id,
                    created_at, changed_at, ended_at, note, notices, pardons, gate, soak_until,
  expires_at, timed_out_at, account, enterprise_projects, refused_accounts)
VALUES (:ready, :processing, :succeeded, :failed, :timeout, :unreachable, :skipped, :canceled, :id, 1, :state,
        :abnormal_cause, :current, :forgiven, :created_by, :request_id, :created_at, :changed_at, :ended_at, :note,
        :notices, :pardons, :gate, :soak_until, :expires_at, :timed_out_at, :account,
        :enterprise_projects, :refused_accounts);

-- add_spec
INSERT INTO ticket_spec (ticket, document) VALUES (:ticket, :document);

-- add_batch
INSERT INTO batch (ready, processing, succeeded, failed, timeout, unreachable, skipped, canceled, ticket, number,
  state, region, zone, application_group, cursor, started_at, ended_at)
VALUES (:ready, :processing, :succeeded, :failed, :timeout, :unreachable, :skipped, :canceled, :ticket, :number,
        :state, :region, :zone, :application_group, :cursor, :started_at, :ended_at);

-- add_run
INSERT INTO run (ticket, place, instance_id, instance_name, batch, state, outcome, error, attempt, sent_at, deadline,
  ended_at, waits_for, pardons, log)
VALUES (:ticket, :place, :instance_id, :instance_name, :batch, :state, :outcome, :error, :attempt, :sent_at,
        :deadline, :ended_at, :waits_for, :pardons, :log);

-- change
UPDATE ticket SET version = version + 1, state = :state, abnormal_cause = :abnormal_cause, current = :current,
  forgiven = :forgiven, ready = :ready, processing = :processing, succeeded = :succeeded, failed = :failed,
  timeout = :timeout, unreachable = :unreachable, skipped = :skipped, canceled = :canceled,
  changed_at = :changed_at, ended_at = :ended_at, note = :note, notices = :notices, pardons = :pardons,
  gate = :gate, soak_until = :soak_until, expires_at = :expires_at, timed_out_at = :timed_out_at
WHERE id = :id AND version = :version RETURNING number;

-- change_batch
UPDATE batch SET state = :state, cursor = :cursor, ready = :ready, processing = :processing,
  succeeded = :succeeded, failed = :failed, timeout = :timeout, unreachable = :unreachable, skipped = :skipped,
  canceled = :canceled, started_at = :started_at, ended_at = :ended_at
WHERE ticket = :ticket AND number = :number;

-- change_run
UPDATE run SET state = :state, outcome = :outcome, error = :error, attempt = :attempt, sent_at = :sent_at,
  deadline = :deadline, ended_at = :ended_at, waits_for = :waits_for, pardons = :pardons, log = :log
WHERE ticket = :ticket AND instance_id = :instance_id;

-- number
SELECT number FROM ticket WHERE id = :id;

-- get
SELECT ready, processing, succeeded, failed, timeout, unreachable, skipped, canceled, t.number, id, version, state,
  abnormal_cause, current, forgiven, created_by, request_id, created_at, changed_at, ended_at, note, notices, pardons,
  gate, soak_until, expires_at, timed_out_at, account, enterprise_projects, refused_accounts, s.document
FROM ticket t JOIN ticket_spec s ON s.ticket = t.number
WHERE id = :id;

-- heads
SELECT ready, processing, succeeded, failed, timeout, unreachable, skipped, canceled, t.number, id, version, state,
  abnormal_cause, current, forgiven, created_by, request_id, created_at, changed_at, ended_at, note, notices, pardons,
  gate, soak_until, expires_at, timed_out_at, account, enterprise_projects, refused_accounts, s.document
FROM ticket t JOIN ticket_spec s ON s.ticket = t.number
WHERE (created_at, id) < (:before_at, :before_id)
  AND (:states = '[]' OR state IN (SELECT value FROM json_each(:states)))
  AND account = :account
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- batches
SELECT ready, processing, succeeded, failed, timeout, unreachable, skipped, canceled, ticket, number, state, region,
  zone, application_group, cursor, started_at, ended_at
FROM batch
WHERE ticket = :ticket
ORDER BY number;

-- runs
SELECT instance_id, instance_name, batch, state, outcome, error, attempt, sent_at, deadline, ended_at,
  waits_for, pardons, log
FROM run
WHERE ticket = :ticket
ORDER BY batch, place;

-- run_page
SELECT instance_id, instance_name, batch, state, outcome, error, attempt, sent_at, deadline, ended_at,
  waits_for, pardons, log, place
FROM run
WHERE ticket = :ticket AND (batch, place) > (:after_batch, :after_place) AND (:batch = 0 OR batch = :batch)
  AND (:states = '[]' OR state IN (SELECT value FROM json_each(:states)))
ORDER BY batch, place LIMIT :limit;

-- find_request
SELECT id FROM ticket WHERE created_by = :created_by AND request_id = :request_id AND request_id <> '';

-- unfinished
SELECT id FROM ticket WHERE state IN ('READY', 'PROCESSING', 'PAUSED') OR processing > 0 ORDER BY created_at, id;

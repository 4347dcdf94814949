-- Whose instances, enrolment tokens and operators' tokens are. All there were belong to the account "default".

ALTER TABLE instance ADD COLUMN account TEXT NOT NULL DEFAULT 'default';
ALTER TABLE enrolment_token ADD COLUMN account TEXT NOT NULL DEFAULT 'default';
ALTER TABLE operator_token ADD COLUMN account TEXT NOT NULL DEFAULT 'default';
ALTER TABLE operator_token ADD COLUMN enterprise_projects TEXT NOT NULL DEFAULT '[]'; -- of its account; none means all

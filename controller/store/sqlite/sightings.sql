-- forget
DELETE FROM sighting WHERE instance_id = :instance_id;

-- put
INSERT INTO sighting (instance_id, machine_id, boot_id, address, first_at, last_at)
VALUES (:instance_id, :machine_id, :boot_id, :address, :first_at, :last_at);

-- sightings
SELECT instance_id, machine_id, boot_id, address, first_at, last_at FROM sighting
ORDER BY instance_id, last_at, boot_id, machine_id;

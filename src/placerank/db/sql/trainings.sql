-- name: start_training
-- One statement and one commit: the key, the training and the event. Nothing is returned if the key is taken.
WITH fresh_key AS (
    INSERT INTO idempotency_keys AS k (caller, key, digest, task_id)
    SELECT :caller, :key, :digest, :id WHERE :key::text IS NOT NULL
    ON CONFLICT (caller, key) DO UPDATE
    SET digest = excluded.digest, task_id = excluded.task_id, created_at = now()
    WHERE k.created_at < now() - interval '24 hours'
    RETURNING task_id
),
new_training AS (
    INSERT INTO trainings (id, options, traceparent, request_id)
    SELECT :id, :options::jsonb, :traceparent, :request_id
    WHERE :key::text IS NULL OR EXISTS (SELECT FROM fresh_key)
    RETURNING id
),
new_event AS (
    INSERT INTO events (task_id, kind) SELECT id, 'training_started' FROM new_training
)
SELECT id FROM new_training;

-- name: unfinished_trainings
SELECT count(*) FROM (SELECT FROM trainings WHERE finished_at IS NULL LIMIT :limit) AS u;

-- name: mark_training_published!
UPDATE trainings SET published_at = now() WHERE id = ANY(:ids) AND finished_at IS NULL;

-- name: take_unpublished_trainings
SELECT id, traceparent, request_id FROM trainings
WHERE finished_at IS NULL AND published_at IS NULL AND created_at < now() - :grace_s * interval '1 second'
ORDER BY seq
LIMIT :batch
FOR UPDATE SKIP LOCKED;

-- name: take_lost_trainings
SELECT id, traceparent, request_id FROM trainings
WHERE finished_at IS NULL AND published_at < now() - :lost_after_s * interval '1 second'
    AND coalesce(lease_until < now(), true)
ORDER BY seq
LIMIT :batch
FOR UPDATE SKIP LOCKED;

-- name: forget_published_trainings!
UPDATE trainings SET published_at = NULL WHERE finished_at IS NULL AND published_at IS NOT NULL;

-- name: read_training
SELECT status, options, progress, model_version, metrics, error_code, error_detail, created_at, started_at, finished_at
FROM trainings WHERE id = :id;

-- name: claim_training
-- Takes a lease, if no training has a running one. If a worker does not renew its lease, it loses the training to the
-- next worker that gets the message.
UPDATE trainings
SET
    status = 'STARTED', started_at = coalesce(started_at, now()), attempts = attempts + 1, progress = 0,
    lease_until = now() + :lease_s * interval '1 second'
WHERE id = :id AND finished_at IS NULL AND coalesce(lease_until < now(), true)
    AND NOT EXISTS (SELECT FROM trainings AS o WHERE o.finished_at IS NULL AND o.lease_until > now() AND o.id <> :id)
RETURNING options, attempts;

-- name: lock_trainings
-- Serializes claims: otherwise two workers could both find that no training runs. The key is "train" in ASCII.
SELECT pg_advisory_xact_lock(500135192942);

-- name: report_progress
-- Also renews the lease.
UPDATE trainings SET progress = :progress, lease_until = now() + :lease_s * interval '1 second'
WHERE id = :id AND finished_at IS NULL
RETURNING id;

-- name: release_training!
-- Hands an unfinished training back for the next worker. This does not count as an attempt.
UPDATE trainings SET lease_until = NULL, attempts = attempts - 1 WHERE id = :id AND finished_at IS NULL;

-- name: finish_training
UPDATE trainings
SET
    status = :status, finished_at = now(), lease_until = NULL, progress = :progress, metrics = :metrics::jsonb,
    model_version = :model_version, error_code = :error_code, error_detail = :error_detail
WHERE id = :id AND finished_at IS NULL
RETURNING id;

-- name: cancel_training
-- The worker that runs it notices when it next reports its progress.
WITH cancelled AS (
    UPDATE trainings
    SET
        status = 'REVOKED', finished_at = now(), lease_until = NULL, error_code = 'cancelled',
        error_detail = 'The client cancelled it.'
    WHERE id = :id AND finished_at IS NULL
    RETURNING id
)
INSERT INTO events (task_id, kind) SELECT id, 'cancelled' FROM cancelled
RETURNING task_id;

-- name: read_lists
-- The newest answered lists, oldest first: who was shown which places, and what was chosen.
SELECT
    i.id, u.identity, u.name, u.people_num, u.people_age, u.children_num, u.budget, u.nights, u.time_arrival,
    u.pool, u.spa, u.pet_friendly, u.lake, u.mountain, u.sport, i.revisions, i.location_ids, i.choice, i.explored
FROM (
    SELECT * FROM inferences WHERE choice IS NOT NULL ORDER BY user_id DESC LIMIT :max_lists
) AS i
JOIN users AS u ON u.id = i.user_id
ORDER BY i.user_id;

-- name: read_lists_again
-- The lists of a dataset, as far as they are still stored.
SELECT
    i.id, u.identity, u.name, u.people_num, u.people_age, u.children_num, u.budget, u.nights, u.time_arrival,
    u.pool, u.spa, u.pet_friendly, u.lake, u.mountain, u.sport, i.revisions, i.location_ids, i.choice, i.explored
FROM inferences AS i
JOIN users AS u ON u.id = i.user_id
WHERE i.id = ANY(:task_ids) AND i.revisions IS NOT NULL
ORDER BY i.user_id;

-- name: read_revisions
SELECT
    revision, children, breakfast, lunch, dinner, price, has_pool, has_spa, animals, near_lake, near_mountains,
    has_sport, family_rating, outdoor_rating, food_rating, leisure_rating, service_rating, user_score
FROM locations
WHERE revision = ANY(:revisions);

-- name: insert_dataset
INSERT INTO datasets (training_id, lists, seed, digest, task_ids, choices, environment)
VALUES (:training_id, :lists, :seed, :digest, :task_ids, :choices, :environment::jsonb)
RETURNING id;

-- name: read_dataset
SELECT id, seed, digest, task_ids, choices, environment FROM datasets
WHERE training_id = :training_id AND choices IS NOT NULL
ORDER BY id DESC
LIMIT 1;

-- name: read_dataset_of_version
SELECT d.id, d.seed, d.digest, d.task_ids, d.choices, d.environment, m.digest AS model_digest,
    m.artifact
FROM models AS m
LEFT JOIN datasets AS d ON d.id = m.dataset_id
WHERE m.version = :version;

-- name: delete_dataset!
DELETE FROM datasets WHERE id = :id;

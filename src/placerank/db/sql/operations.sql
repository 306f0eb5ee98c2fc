-- name: prune_inferences
-- The oldest starts, by their number, which counts with time: what finished before :before goes, with all that hangs
-- on it. ``last`` is where to go on, none at the end.
WITH next AS MATERIALIZED (
    SELECT user_id, created_at < :before AS old, finished_at IS NOT NULL AS finished FROM inferences
    WHERE user_id > :after
    ORDER BY user_id
    LIMIT :batch
),
-- Travellers first, then in the order of ids, as where a traveller is erased: no two statements wait for each other.
who AS MATERIALIZED (
    SELECT id FROM users WHERE id IN (SELECT user_id FROM next WHERE old AND finished) ORDER BY id FOR UPDATE
),
gone AS MATERIALIZED (
    SELECT id, user_id FROM inferences
    WHERE user_id IN (SELECT id FROM who) AND finished_at IS NOT NULL
    ORDER BY id
    FOR UPDATE
),
gone_events AS (DELETE FROM events WHERE task_id IN (SELECT id FROM gone)),
gone_keys AS (DELETE FROM idempotency_keys WHERE task_id IN (SELECT id FROM gone)),
gone_inferences AS (DELETE FROM inferences WHERE id IN (SELECT id FROM gone)),
gone_users AS (DELETE FROM users WHERE id IN (SELECT user_id FROM gone))
SELECT (SELECT count(*) FROM gone) AS inferences, (SELECT max(user_id) FROM next WHERE old) AS last;

-- name: prune_keys
-- Idempotency keys are kept for a day.
WITH gone AS (DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours' RETURNING 1)
SELECT count(*) AS keys FROM gone;

-- name: prune_places
-- Revisions that were removed long before :before. No answer that is left shows them: a worker shows a removed place
-- for moments only, and what has not finished has shown nothing yet.
WITH gone AS (
    DELETE FROM locations WHERE removed_at < :before::timestamptz - interval '1 day' RETURNING 1
)
SELECT count(*) AS places FROM gone;

-- name: revive_inferences
-- Failed ones begin anew: unpublished, so that the relay sends them, and without the deadline that they may have had.
WITH revived AS (
    UPDATE inferences
    SET
        status = 'PENDING', attempts = 0, finished_at = NULL, published_at = NULL, deadline_at = NULL,
        error_code = NULL, error_detail = NULL
    WHERE id = ANY(:ids) AND status = 'FAILURE'
    RETURNING id
),
logged AS (
    INSERT INTO events (task_id, kind) SELECT id, 'replayed' FROM revived
)
SELECT id FROM revived;

-- name: revive_trainings
WITH revived AS (
    UPDATE trainings
    SET
        status = 'PENDING', attempts = 0, finished_at = NULL, published_at = NULL, progress = 0, error_code = NULL,
        error_detail = NULL
    WHERE id = ANY(:ids) AND status = 'FAILURE'
    RETURNING id
),
logged AS (
    INSERT INTO events (task_id, kind) SELECT id, 'replayed' FROM revived
)
SELECT id FROM revived;

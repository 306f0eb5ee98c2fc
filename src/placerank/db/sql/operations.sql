-- name: prune_inferences
-- Reads the next :batch starts after :after, in the order of their numbers, which grow with time. Of these it deletes
-- the finished ones that were started before :before, with their travellers, events and idempotency keys. ``last`` is
-- the next :after; it is null if the batch has no start from before :before.
WITH next AS MATERIALIZED (
    SELECT user_id, created_at < :before AS old, finished_at IS NOT NULL AS finished FROM inferences
    WHERE user_id > :after
    ORDER BY user_id
    LIMIT :batch
),
-- Locks travellers first, then inferences, each in the order of ids, as erase_traveller does. This prevents deadlocks.
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
-- Deletes revisions that were removed more than a day before :before. No remaining answer shows them: workers stop
-- showing a removed place within moments, and unfinished inferences have not shown anything yet.
WITH gone AS (
    DELETE FROM locations WHERE removed_at < :before::timestamptz - interval '1 day' RETURNING 1
)
SELECT count(*) AS places FROM gone;

-- name: revive_inferences
-- Restarts failed inferences. They count as unpublished, so the relay publishes them, and their deadline is removed.
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

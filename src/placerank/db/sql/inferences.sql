-- An inference is unfinished as long as it is PENDING. Statements that search for unfinished rows test
-- ``finished_at IS NULL``, which has a partial index. Statements that get ids test ``status = 'PENDING'`` instead, and
-- those with many ids only after they have found the rows. Otherwise the planner could prefer the partial index to the
-- index of the ids, because it is usually small. With such a cached plan, every batch would read the whole backlog.

-- name: start_inferences
-- One statement and one commit for all starts that arrived together: keys, users, inferences and events.
-- Rows whose idempotency key is taken, and all rows while the catalogue is empty, are left out and not returned.
WITH given AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset(:rows::json) AS g (
        id uuid, caller text, key text, digest text, identity text, user_id text, deadline_s double precision,
        traceparent text, request_id text, traveller json
    )
    WHERE EXISTS (SELECT FROM locations WHERE removed_at IS NULL)
),
fresh_keys AS (
    INSERT INTO idempotency_keys AS k (caller, key, digest, task_id)
    SELECT caller, key, digest, id FROM given WHERE key IS NOT NULL ORDER BY caller, key
    ON CONFLICT (caller, key) DO UPDATE
    SET digest = excluded.digest, task_id = excluded.task_id, created_at = now()
    WHERE k.created_at < now() - interval '24 hours'
    RETURNING task_id
),
input AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('users', 'id')) AS row_id, given.*
    FROM given
    WHERE key IS NULL OR id IN (SELECT task_id FROM fresh_keys)
),
new_users AS (
    INSERT INTO users (
        id, identity, user_id, name, people_num, people_age, children_num, budget, nights, time_arrival,
        pool, spa, pet_friendly, lake, mountain, sport
    )
    SELECT
        row_id, identity, user_id, t.name, t.people_num, t.people_age, t.children_num, t.budget, t.nights,
        t.time_arrival, t.pool, t.spa, t.pet_friendly, t.lake, t.mountain, t.sport
    FROM input
    CROSS JOIN LATERAL json_to_record(input.traveller) AS t (
        name text, people_num integer, people_age smallint[], children_num integer, budget double precision,
        nights integer, time_arrival date, pool boolean, spa boolean, pet_friendly boolean, lake boolean,
        mountain boolean, sport boolean
    )
),
new_inferences AS (
    INSERT INTO inferences (id, user_id, deadline_at, traceparent, request_id)
    SELECT id, row_id, now() + deadline_s * interval '1 second', traceparent, request_id FROM input
),
new_events AS (
    INSERT INTO events (task_id, kind) SELECT id, 'started' FROM input
)
SELECT id, row_id FROM input;

-- name: find_idempotency_key
-- The task and the digest of the body that are stored for an idempotency key, and whether a start may take the key over.
SELECT task_id, digest, created_at < now() - interval '24 hours' AS expired
FROM idempotency_keys WHERE caller = :caller AND key = :key;

-- name: mark_published
-- The broker has confirmed these. Rows that have finished, or that a worker is finishing (locked), need no mark.
UPDATE inferences SET published_at = now()
WHERE id IN (
    SELECT id FROM inferences
    WHERE id = ANY(:ids) AND status = 'PENDING' AND published_at IS NULL
    FOR UPDATE SKIP LOCKED
);

-- name: take_unpublished
-- Committed but not confirmed: the relay publishes these. The locks make two relays share the work.
SELECT id, traceparent, request_id FROM inferences
WHERE finished_at IS NULL AND published_at IS NULL AND created_at < now() - :grace_s * interval '1 second'
ORDER BY created_at
LIMIT :batch
FOR UPDATE SKIP LOCKED;

-- name: take_lost
-- Published long ago and not finished. If the queue is empty, their messages are lost.
SELECT id, traceparent, request_id FROM inferences
WHERE finished_at IS NULL AND published_at < now() - :lost_after_s * interval '1 second'
ORDER BY user_id
LIMIT :batch
FOR UPDATE SKIP LOCKED;

-- name: set_published!
-- For rows that the relay itself has locked.
UPDATE inferences SET published_at = now() WHERE id = ANY(:ids);

-- name: forget_published!
-- After a start with an empty broker, everything unfinished must be published again.
UPDATE inferences SET published_at = NULL WHERE finished_at IS NULL AND published_at IS NOT NULL;

-- name: backlog
-- How many inferences are unfinished, counted up to the limit.
SELECT count(*) FROM (SELECT FROM inferences WHERE finished_at IS NULL LIMIT :limit) AS u;

-- name: read_jobs
-- The travellers of a batch, without inferences that have finished.
WITH wanted AS MATERIALIZED (
    SELECT i.id, i.user_id, i.status, i.deadline_at, i.created_at
    FROM json_to_recordset(:rows::json) AS g (id uuid)
    JOIN inferences AS i ON i.id = g.id
    -- Every id is in this range: see select_places.
    WHERE g.id BETWEEN '00000000-0000-0000-0000-000000000000' AND 'ffffffff-ffff-ffff-ffff-ffffffffffff'
)
SELECT
    w.id, coalesce(w.deadline_at < now(), false) AS expired, u.identity, v.catalogue, v.models,
    extract(epoch FROM clock_timestamp() - w.created_at)::double precision AS waited_s,
    u.name, u.people_num, u.people_age, u.children_num, u.budget, u.nights, u.time_arrival,
    u.pool, u.spa, u.pet_friendly, u.lake, u.mountain, u.sport
FROM wanted AS w
JOIN users AS u ON u.id = w.user_id
CROSS JOIN versions AS v
WHERE w.status = 'PENDING';

-- name: count_attempt
-- Runs before a redelivered message is processed alone. The count is committed first: it survives a worker's crash.
UPDATE inferences SET attempts = attempts + 1 WHERE id = :id AND status = 'PENDING' RETURNING attempts;

-- name: finish_inferences
-- The results of a batch, each applied once: rows that are finished already stay as they are.
WITH answer AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset(:rows::json) AS a (
        id uuid, status text, error_code text, error_detail text, model_version text, catalogue_version bigint,
        candidates integer, candidates_digest text, explored boolean, revisions bigint[], location_ids integer[],
        scores double precision[], propensities double precision[]
    )
    -- Every id is in this range: see select_places.
    WHERE id BETWEEN '00000000-0000-0000-0000-000000000000' AND 'ffffffff-ffff-ffff-ffff-ffffffffffff'
),
-- Locks in the order of ids, as every statement that locks several rows does. This prevents deadlocks.
found AS MATERIALIZED (
    SELECT i.id, i.status FROM answer JOIN inferences AS i ON i.id = answer.id ORDER BY i.id FOR UPDATE OF i
),
-- An unused result: its inference had been cancelled, or had already finished in another run.
too_late AS (
    INSERT INTO events (task_id, kind) SELECT id, 'result_unused' FROM found WHERE status <> 'PENDING'
)
UPDATE inferences AS i
SET
    status = a.status, finished_at = now(), error_code = a.error_code, error_detail = a.error_detail,
    model_version = a.model_version, catalogue_version = a.catalogue_version, candidates = a.candidates,
    candidates_digest = a.candidates_digest, explored = coalesce(a.explored, false),
    revisions = a.revisions, location_ids = a.location_ids, scores = a.scores, propensities = a.propensities
FROM answer AS a
JOIN found ON found.id = a.id
WHERE i.id = a.id AND found.status = 'PENDING'
RETURNING i.id;

-- name: cancel
-- Cancels the inference if it has not finished; returns its status in any case.
WITH found AS (
    SELECT id, status, model_version, error_code, error_detail FROM inferences WHERE id = :id FOR UPDATE
),
cancelled AS (
    UPDATE inferences AS i
    SET status = 'REVOKED', finished_at = now(), error_code = 'cancelled', error_detail = 'The client cancelled it.'
    FROM found
    WHERE i.id = found.id AND i.status = 'PENDING'
    RETURNING i.id
),
logged AS (
    INSERT INTO events (task_id, kind) SELECT id, 'cancelled' FROM cancelled
)
SELECT
    CASE WHEN cancelled.id IS NULL THEN found.status ELSE 'REVOKED' END AS status, found.model_version,
    found.error_code, found.error_detail, cancelled.id IS NOT NULL AS changed
FROM found LEFT JOIN cancelled ON cancelled.id = found.id;

-- name: read_status
-- The status of tasks that are not in the cache.
SELECT
    i.id, i.status, i.model_version, i.error_code, i.error_detail, i.user_id,
    (SELECT min(o.user_id) FROM inferences AS o WHERE o.finished_at IS NULL AND i.finished_at IS NULL) AS oldest
FROM inferences AS i
WHERE i.id = ANY(:ids);

-- name: read_answers
-- The places that finished inferences showed, best first, as they were when they were shown.
SELECT
    r.task_id, r.score, r.location_id, l.children, l.breakfast, l.lunch, l.dinner, l.price, l.has_pool, l.has_spa,
    l.animals, l.near_lake, l.near_mountains, l.has_sport, l.family_rating, l.outdoor_rating, l.food_rating,
    l.leisure_rating, l.service_rating, l.user_score
FROM results AS r
JOIN locations AS l ON l.revision = r.revision
WHERE r.task_id = ANY(:ids)
ORDER BY r.task_id, r.position;

-- name: select_places
-- Selections that arrived together. A repeated choice changes nothing; a different one replaces the first, and the
-- event log keeps both. Each row says what was found, so that the caller can tell why one was refused.
WITH given AS MATERIALIZED (
    -- Not unnest: it shows the planner the number of rows, so PostgreSQL would plan each call again. That takes as long
    -- as the execution. The range contains every id. It makes the planner expect few rows and use the index. Otherwise
    -- a plan that was cached while the table was small would scan the whole table in every batch.
    SELECT * FROM json_to_recordset(:rows::json) AS g (id uuid, choice integer)
    WHERE id BETWEEN '00000000-0000-0000-0000-000000000000' AND 'ffffffff-ffff-ffff-ffff-ffffffffffff'
),
found AS MATERIALIZED (
    SELECT
        i.id, i.status, g.choice, i.choice AS before, i.model_version,
        array_position(i.location_ids, g.choice) AS position, g.choice = -1 OR g.choice = ANY(i.location_ids) AS shown
    FROM inferences AS i
    JOIN given AS g ON g.id = i.id
    ORDER BY i.id
    FOR UPDATE OF i
),
changed AS (
    UPDATE inferences AS i SET choice = found.choice, chosen_at = now()
    FROM found
    WHERE i.id = found.id AND found.status = 'SUCCESS' AND found.shown AND found.before IS DISTINCT FROM found.choice
    RETURNING i.id, i.choice
),
logged AS (
    INSERT INTO events (task_id, kind, location_id) SELECT id, 'selected', choice FROM changed
)
SELECT
    id, status, coalesce(shown, false) AS shown, model_version, position, before IS NOT NULL AS replaced,
    id IN (SELECT id FROM changed) AS changed
FROM found;

-- name: info
SELECT
    (SELECT count(*) FROM locations WHERE removed_at IS NULL) AS locations,
    (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM inferences) AS inferences,
    (SELECT count(*) FROM events) AS events,
    (SELECT count(*) FROM models) AS models,
    (SELECT count(*) FROM datasets) AS datasets,
    (SELECT catalogue FROM versions) AS catalogue_version;

-- name: locations
SELECT
    location_id, children, breakfast, lunch, dinner, price, has_pool, has_spa, animals, near_lake, near_mountains,
    has_sport, family_rating, outdoor_rating, food_rating, leisure_rating, service_rating, user_score
FROM locations
WHERE removed_at IS NULL AND location_id > :after
ORDER BY location_id
LIMIT :limit;

-- name: location
SELECT
    location_id, children, breakfast, lunch, dinner, price, has_pool, has_spa, animals, near_lake, near_mountains,
    has_sport, family_rating, outdoor_rating, food_rating, leisure_rating, service_rating, user_score,
    removed_at IS NOT NULL AS removed
FROM locations
WHERE location_id = :id
ORDER BY revision DESC
LIMIT 1;

-- name: users
SELECT
    id, user_id, name, people_num, people_age, children_num, budget, nights, time_arrival, pool, spa, pet_friendly,
    lake, mountain, sport, created_at
FROM users
WHERE id > :after AND (:user_id::text IS NULL OR identity = 'id:' || :user_id::text)
ORDER BY id
LIMIT :limit;

-- name: user
SELECT
    id, user_id, name, people_num, people_age, children_num, budget, nights, time_arrival, pool, spa, pet_friendly,
    lake, mountain, sport, created_at
FROM users
WHERE id = :id;

-- name: results
SELECT id, task_id, position, location_id, score, propensity, model_version, catalogue_version, explored, chosen
FROM results
WHERE task_id = :task_id AND id > :after
ORDER BY id
LIMIT :limit;

-- name: result
-- The start's number (``id / 128``) has an index; ``id`` itself does not.
SELECT id, task_id, position, location_id, score, propensity, model_version, catalogue_version, explored, chosen
FROM results
WHERE user_id = :id::bigint / 128 AND id = :id::bigint;

-- name: events
SELECT id, task_id, kind, location_id, at FROM events WHERE id > :after ORDER BY id LIMIT :limit;

-- name: datasets
SELECT id, training_id, created_at, lists, seed, digest FROM datasets WHERE id > :after ORDER BY id LIMIT :limit;

-- name: task_exists
SELECT EXISTS (SELECT FROM inferences WHERE id = :id) AS found;

-- name: erase_traveller
-- Deletes everything that is stored about the traveller of this start, with all starts of this traveller.
WITH who AS MATERIALIZED (
    SELECT id FROM users WHERE identity = (SELECT identity FROM users WHERE id = :id) ORDER BY id FOR UPDATE
),
-- Locks in the order of ids, as every statement that locks several rows does. This prevents deadlocks.
tasks AS MATERIALIZED (
    SELECT id FROM inferences WHERE user_id IN (SELECT id FROM who) ORDER BY id FOR UPDATE
),
gone_events AS (DELETE FROM events WHERE task_id IN (SELECT id FROM tasks) RETURNING 1),
gone_keys AS (DELETE FROM idempotency_keys WHERE task_id IN (SELECT id FROM tasks) RETURNING 1),
gone_inferences AS (DELETE FROM inferences WHERE id IN (SELECT id FROM tasks) RETURNING id),
gone_users AS (DELETE FROM users WHERE id IN (SELECT id FROM who) RETURNING 1)
SELECT
    (SELECT count(*) FROM gone_users) AS users,
    (SELECT count(*) FROM gone_events) AS events,
    (SELECT array_agg(id) FROM gone_inferences) AS task_ids;

-- name: schema_revision
SELECT version_num FROM alembic_version;

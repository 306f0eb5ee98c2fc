-- name: versions
-- Which catalogue and which set of models are in force.
SELECT catalogue, models FROM versions;

-- name: lock_catalogue
-- Serializes changes of the catalogue.
SELECT catalogue FROM versions FOR UPDATE;

-- name: bump_catalogue
UPDATE versions SET catalogue = catalogue + 1 RETURNING catalogue;

-- name: read_catalogue
-- Every place of the catalogue in force.
SELECT
    revision, location_id, children, breakfast, lunch, dinner, price, has_pool, has_spa, animals, near_lake,
    near_mountains, has_sport, family_rating, outdoor_rating, food_rating, leisure_rating, service_rating, user_score
FROM locations
WHERE removed_at IS NULL
ORDER BY location_id;

-- name: copy_catalogue
-- The same rows in PostgreSQL's binary format. No column can be null, so every row has the same width and no Python
-- object is needed for a value: a million places take seconds.
COPY (
    SELECT
        revision, location_id, children, breakfast, lunch, dinner, price, has_pool, has_spa, animals, near_lake,
        near_mountains, has_sport, family_rating, outdoor_rating, food_rating, leisure_rating, service_rating,
        user_score
    FROM locations
    WHERE removed_at IS NULL
    ORDER BY location_id
) TO STDOUT (FORMAT binary);

-- name: stage_table!
-- Holds the given places until all of them have arrived.
CREATE TEMPORARY TABLE staged (
    row_number bigint GENERATED ALWAYS AS IDENTITY,
    location_id integer,
    children boolean, breakfast boolean, lunch boolean, dinner boolean, price double precision, has_pool boolean,
    has_spa boolean, animals boolean, near_lake boolean, near_mountains boolean, has_sport boolean,
    family_rating double precision, outdoor_rating double precision, food_rating double precision,
    leisure_rating double precision, service_rating double precision, user_score double precision
) ON COMMIT DROP;

-- name: stage_copy!
COPY staged (
    location_id, children, breakfast, lunch, dinner, price, has_pool, has_spa, animals, near_lake, near_mountains,
    has_sport, family_rating, outdoor_rating, food_rating, leisure_rating, service_rating, user_score
) FROM STDIN;

-- name: number_staged
-- Rows without an id get the next ids after the greatest one in force or given. Ids in force do not count if the
-- catalogue is replaced. Without any id, the first is 1.
UPDATE staged SET location_id = numbered.id
FROM (
    SELECT
        row_number,
        greatest(
            (SELECT coalesce(max(location_id), 0) FROM locations WHERE removed_at IS NULL AND NOT :replace),
            (SELECT coalesce(max(location_id), 0) FROM staged)
        ) + row_number() OVER (ORDER BY row_number) AS id
    FROM staged
    WHERE location_id IS NULL
) AS numbered
WHERE staged.row_number = numbered.row_number;

-- name: remove_demo_places
WITH gone AS (
    UPDATE locations SET removed_at = now() WHERE demo AND removed_at IS NULL RETURNING revision
)
SELECT count(*) FROM gone;

-- name: remove_missing_places
WITH gone AS (
    UPDATE locations AS l SET removed_at = now()
    WHERE l.removed_at IS NULL AND NOT EXISTS (SELECT FROM staged AS s WHERE s.location_id = l.location_id)
    RETURNING l.revision
)
SELECT count(*) FROM gone;

-- name: remove_changed_places
-- Removes the revisions in force whose staged values differ. Places with the same values stay as they are.
WITH gone AS (
    UPDATE locations AS l SET removed_at = now()
    FROM staged AS s
    WHERE l.location_id = s.location_id AND l.removed_at IS NULL
        AND (
            l.children, l.breakfast, l.lunch, l.dinner, l.price, l.has_pool, l.has_spa, l.animals, l.near_lake,
            l.near_mountains, l.has_sport, l.family_rating, l.outdoor_rating, l.food_rating, l.leisure_rating,
            l.service_rating, l.user_score
        ) IS DISTINCT FROM (
            s.children, s.breakfast, s.lunch, s.dinner, s.price, s.has_pool, s.has_spa, s.animals, s.near_lake,
            s.near_mountains, s.has_sport, s.family_rating, s.outdoor_rating, s.food_rating, s.leisure_rating,
            s.service_rating, s.user_score
        )
    RETURNING l.revision
)
SELECT count(*) FROM gone;

-- name: insert_staged
-- The staged places that are not in force yet.
WITH new AS (
    INSERT INTO locations (
        location_id, children, breakfast, lunch, dinner, price, has_pool, has_spa, animals, near_lake,
        near_mountains, has_sport, family_rating, outdoor_rating, food_rating, leisure_rating, service_rating,
        user_score, demo
    )
    SELECT
        s.location_id, s.children, s.breakfast, s.lunch, s.dinner, s.price, s.has_pool, s.has_spa, s.animals,
        s.near_lake, s.near_mountains, s.has_sport, s.family_rating, s.outdoor_rating, s.food_rating,
        s.leisure_rating, s.service_rating, s.user_score, :demo
    FROM staged AS s
    WHERE NOT EXISTS (SELECT FROM locations AS l WHERE l.location_id = s.location_id AND l.removed_at IS NULL)
    ORDER BY s.location_id
    RETURNING revision
)
SELECT count(*) FROM new;

-- name: remove_place
UPDATE locations SET removed_at = now() WHERE location_id = :location_id AND removed_at IS NULL RETURNING location_id;

-- name: count_places
SELECT count(*) FROM locations WHERE removed_at IS NULL;

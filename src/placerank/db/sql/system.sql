-- name: system
-- The outbox, the backlog, PostgreSQL's own figures and the number of places. Outbox and backlog are counted up to the
-- limit, on indexes that hold unfinished rows only; finished rows cost nothing.
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM inferences WHERE finished_at IS NULL AND published_at IS NULL LIMIT :limit
        ) AS u
    ) AS outbox,
    (
        SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::double precision
        FROM inferences WHERE finished_at IS NULL AND published_at IS NULL
    ) AS outbox_age_s,
    (SELECT count(*) FROM (SELECT FROM inferences WHERE finished_at IS NULL LIMIT :limit) AS u) AS backlog,
    coalesce(
        (
            SELECT extract(epoch FROM now() - created_at)::double precision
            FROM inferences WHERE finished_at IS NULL ORDER BY user_id LIMIT 1
        ),
        0
    ) AS backlog_age_s,
    pg_database_size(current_database()) AS size_bytes,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
    current_setting('max_connections')::integer AS connections_limit,
    (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()) AS deadlocks,
    (SELECT count(*) FROM locations WHERE removed_at IS NULL) AS places;

-- name: training_counts
SELECT status, count(*) AS count FROM trainings GROUP BY status;

-- name: running_training
SELECT progress FROM trainings WHERE status = 'STARTED' ORDER BY seq LIMIT 1;

-- name: newest_metrics
-- The metrics of the version that was trained last.
SELECT version, metrics FROM models WHERE training_id IS NOT NULL ORDER BY id DESC LIMIT 1;

-- name: served_versions
SELECT version, use_percentage FROM models WHERE use_percentage > 0 ORDER BY id;

-- name: recent_rates
-- The results of the starts since :since, an id. Ids grow with time (UUID version 7), so the primary key finds them.
SELECT
    count(*) AS started,
    count(*) FILTER (WHERE status = 'SUCCESS') AS answered,
    count(*) FILTER (WHERE status = 'FAILURE') AS failed,
    count(choice) AS selected,
    coalesce(
        percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - created_at)), 0
    )::double precision AS median_s,
    coalesce(
        percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - created_at)), 0
    )::double precision AS p99_s
FROM inferences
WHERE id >= :since;

-- name: start_canary!
INSERT INTO canaries (model_id, champion_id, share, expected)
VALUES (:model_id, :champion_id, :share, :expected::jsonb);

-- name: end_canary
UPDATE canaries SET status = :status, ended_at = now(), reason = :reason, figures = coalesce(:figures::jsonb, figures)
WHERE ended_at IS NULL
RETURNING id, model_id, champion_id;

-- name: step_canary!
UPDATE canaries SET share = :share, stepped_at = now(), figures = :figures::jsonb WHERE id = :id;

-- name: note_canary!
UPDATE canaries SET reason = :reason, figures = :figures::jsonb WHERE id = :id;

-- name: watch_alone
-- One process at a time watches the canary. The key of the lock is "watch" in ASCII.
SELECT pg_try_advisory_xact_lock(512736125800) AS alone;

-- name: running_canary
SELECT
    c.id, c.model_id, c.champion_id, c.share, c.expected, c.stepped_at, m.version, o.version AS champion_version,
    m.use_percentage, extract(epoch FROM now() - c.stepped_at)::double precision AS seconds
FROM canaries AS c
JOIN models AS m ON m.id = c.model_id
JOIN models AS o ON o.id = c.champion_id
WHERE c.ended_at IS NULL;

-- name: last_canary
-- The canary that was promoted last.
SELECT c.model_id, c.champion_id, m.version, o.version AS champion_version
FROM canaries AS c
JOIN models AS m ON m.id = c.model_id
JOIN models AS o ON o.id = c.champion_id
WHERE c.status = 'promoted'
ORDER BY c.id DESC
LIMIT 1;

-- name: canary_traffic
-- The results of the newest finished starts since the last step, by version. Ids of starts grow with time (UUID version
-- 7), so the primary key finds them.
WITH newest AS MATERIALIZED (
    SELECT status, model_version, choice, explored, scores[1] AS top
    FROM inferences
    WHERE id >= :since AND finished_at IS NOT NULL
    ORDER BY id DESC
    LIMIT :most
)
SELECT
    model_version AS version,
    count(*) FILTER (WHERE status = 'SUCCESS') AS answers,
    count(*) FILTER (WHERE status = 'FAILURE') AS failures,
    count(choice) AS selections,
    count(*) FILTER (WHERE choice >= 0) AS choices,
    coalesce(array_agg(top) FILTER (WHERE top IS NOT NULL AND NOT explored), '{}') AS tops
FROM newest
WHERE model_version = ANY(:versions)
GROUP BY model_version;

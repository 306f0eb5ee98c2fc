-- name: lock_models
-- Serializes changes of the shares.
SELECT models FROM versions FOR UPDATE;

-- name: bump_models!
UPDATE versions SET models = models + 1;

-- name: insert_model
INSERT INTO models (
    kind, digest, artifact, use_percentage, metrics, "precision", recall, f1, accuracy, training_id, dataset_id,
    decision, card
)
VALUES (
    :kind, :digest, :artifact, :use_percentage, :metrics::jsonb, (:metrics::jsonb ->> 'precision')::double precision,
    (:metrics::jsonb ->> 'recall')::double precision, (:metrics::jsonb ->> 'f1')::double precision,
    (:metrics::jsonb ->> 'accuracy')::double precision, :training_id, :dataset_id,
    :decision::jsonb, :card
)
RETURNING id, version;

-- name: models_in_use
-- The versions that workers serve, with artifacts. The order decides which travellers get which version.
SELECT id, version, kind, digest, artifact, use_percentage FROM models WHERE use_percentage > 0 ORDER BY id;

-- name: list_models
SELECT
    id, version, kind, digest, use_percentage, metrics, "precision", recall, f1, accuracy, training_id, dataset_id,
    decision, created_at
FROM models
WHERE id > :after
ORDER BY id
LIMIT :limit;

-- name: shares
SELECT id, use_percentage FROM models ORDER BY use_percentage DESC, id DESC;

-- name: set_share!
UPDATE models SET use_percentage = :share WHERE id = :id;

-- name: read_model
SELECT
    id, version, kind, digest, use_percentage, metrics, decision, card, artifact, training_id, dataset_id, created_at
FROM models
WHERE version = :version;

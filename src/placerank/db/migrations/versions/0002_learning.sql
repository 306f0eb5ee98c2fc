-- Which places an answer was chosen from: answers of the same candidates have the same digest.
ALTER TABLE inferences ADD COLUMN candidates_digest text;

-- A training's lists are recorded before it begins, with what was chosen then: a choice may be replaced later.
ALTER TABLE datasets ADD COLUMN choices integer[], ADD COLUMN environment jsonb NOT NULL DEFAULT '{}';

-- What the gate decided about a version, and a card for people.
ALTER TABLE models ADD COLUMN decision jsonb, ADD COLUMN card text;

-- A version that passed the gate goes live by steps, under watch; one at a time.
CREATE TABLE canaries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    champion_id bigint NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    share smallint NOT NULL CHECK (share BETWEEN 0 AND 100),
    status text NOT NULL DEFAULT 'running',
    expected jsonb NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL DEFAULT now(),
    stepped_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    reason text,
    figures jsonb
);
CREATE UNIQUE INDEX canaries_running ON canaries ((true)) WHERE ended_at IS NULL;
CREATE INDEX canaries_by_model ON canaries (model_id);
CREATE INDEX canaries_by_champion ON canaries (champion_id);

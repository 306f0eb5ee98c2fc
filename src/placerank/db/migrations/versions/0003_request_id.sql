-- What a request is called in logs, so that what the relay publishes keeps its name.
ALTER TABLE inferences ADD COLUMN request_id text;
ALTER TABLE trainings ADD COLUMN request_id text;

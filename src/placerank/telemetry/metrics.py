"""Every metric of every process, declared once. Names and units follow Prometheus' conventions; labels are bounded.

A counter is incremented where the fact is certain: ``placerank_results_stored_total`` counts the rows that the database
reported as changed. A process's counters end with the process. Dashboards show sums over all processes.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# The ``_created`` series carry no information here and would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Failures known in advance. Their series start at 0, so that the first failure is seen as an increase.
PROBLEMS: Final = ("deadline_exceeded", "no_places", "too_many_attempts", "inference_failed")
#: From a reply out of memory to the longest wait, in seconds.
_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
#: From an idle system to a night's backlog, in seconds.
_WAIT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
#: One statement, one batch, one flight, in seconds.
_WORK_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_TRAINING_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)
#: An answer's best score is a probability.
_SCORE = tuple(step / 20 for step in range(1, 20))

# HTTP.
HTTP_REQUESTS = Counter("http_requests_total", "Requests by route template.", ["method", "status", "handler"])
HTTP_DURATIONS = Histogram(
    "http_request_duration_seconds", "Durations by route template.", ["method", "handler"], buckets=_REQUEST_S
)
REQUESTS_IN_FLIGHT = Gauge("placerank_http_requests_in_flight", "Requests being answered.")
REQUESTS_LIMIT = Gauge("placerank_http_requests_limit", "Requests in flight above which new ones get 503.")

# Inferences.
STARTED = Counter("placerank_inferences_started_total", "Inferences committed.")
CANCELLED = Counter("placerank_inferences_cancelled_total", "Inferences that their client cancelled.")
SELECTIONS = Counter(
    "placerank_selections_total",
    "Choices recorded, by model version and position shown (from 1; none: no place).",
    ["model_version", "position", "replaced"],
)
RESULTS_STORED = Counter("placerank_results_stored_total", "Answers stored, by version.", ["model_version"])
FAILED = Counter("placerank_inferences_failed_total", "Inferences that ended with a problem, by its code.", ["code"])
UNUSED = Counter("placerank_results_unused_total", "Results not stored: the inference was cancelled, or it ran twice.")
RETRIED = Counter("placerank_inferences_retried_total", "Attempts to run a redelivered inference alone.")
DEAD_LETTERS = Counter("placerank_dead_letters_total", "Dead letters published, by reason.", ["queue", "reason"])
ANSWER_AGE = Histogram(
    "placerank_answer_age_seconds", "From the commit of a start to its stored answer.", buckets=_WAIT_S
)
SCORE = Histogram("placerank_answer_score", "Best score of an answer, by version.", ["model_version"], buckets=_SCORE)

# From the commit to the worker.
PUBLISHED = Counter("placerank_messages_published_total", "Messages published, by confirmation.", ["queue", "result"])
PUBLISH_DURATION = Histogram(
    "placerank_publish_duration_seconds", "From sending a flight to its last confirm.", buckets=_WORK_S
)
CONFIRMS_IN_FLIGHT = Gauge("placerank_confirms_in_flight", "Messages sent and not confirmed yet.")
BROKER_CONNECTED = Gauge("placerank_broker_connected", "Whether this process can publish.", ["connection"])
RELAYED = Counter("placerank_relayed_total", "Messages published by the relay, by reason.", ["queue", "reason"])
QUEUE_WAIT = Histogram("placerank_queue_wait_seconds", "From the commit of a start to its batch.", buckets=_WAIT_S)

# Batches.
BATCH_SIZE = Histogram("placerank_batch_size", "Inferences in a batch.", buckets=_BATCH)
BATCH_DURATION = Histogram("placerank_batch_duration_seconds", "From reading to storing a batch.", buckets=_WORK_S)
SCORING_DURATION = Histogram("placerank_scoring_duration_seconds", "Scoring in a batch, per version.", buckets=_WORK_S)
TASKS_HELD = Gauge("placerank_worker_tasks_held", "Messages received and not yet acknowledged.")
HEARTBEAT = Gauge("placerank_worker_heartbeat_timestamp_seconds", "Last heartbeat; a hung worker sends none.")

# What is served.
MODEL_SHARE = Gauge(
    "placerank_model_share_ratio", "Share of the travellers that a version serves here.", ["model_version"]
)
MODEL_REFUSED = Gauge(
    "placerank_refused_model_records", "1 for a version in use that cannot be read here.", ["model_version"]
)
CATALOGUE_VERSION = Gauge("placerank_catalogue_version", "Version of the catalogue served here.")
CATALOGUE_PLACES = Gauge("placerank_catalogue_places", "Places in the catalogue served here.")
MODELS_VERSION = Gauge("placerank_models_version", "Version of the set of models served here.")

# Trainings.
TRAINING_PROGRESS = Gauge("placerank_training_progress_ratio", "Progress of this worker's training.")
TRAINING_DURATION = Histogram("placerank_training_duration_seconds", "Durations of trainings.", buckets=_TRAINING_S)

CANARIES = Counter("placerank_canaries_total", "Canary versions that were promoted or rolled back.", ["result"])

# The process itself.
PART_FAILURES = Counter(
    "placerank_part_failures_total",
    "Failures of a long-lived task or thread; it starts again, or the process ends.",
    ["part"],
)
POSTGRES_RESTARTS = Counter(
    "placerank_postgres_restarts_total", "Restarts of the bundled PostgreSQL after it ended by itself."
)

# PostgreSQL and Redis, as each process sees them.
RECORDS_REFUSED = Counter(
    "placerank_records_refused_total", "Stored records and messages that were odd, so they were left out.", ["kind"]
)
STATEMENT_DURATION = Histogram(
    "placerank_database_statement_duration_seconds", "Durations of statements, by name.", ["statement"], buckets=_WORK_S
)
POOL_CONNECTIONS = Gauge("placerank_database_pool_connections", "Connections by state.", ["pool", "state"])
POOL_LIMIT = Gauge("placerank_database_pool_limit", "Upper bound of the pool's connections.", ["pool"])
POOL_WAITING = Gauge("placerank_database_pool_waiting", "Callers that wait for a connection.", ["pool"])
DATABASE_FAILURES = Counter("placerank_database_failures_total", "Failures because the database was unreachable.")
CACHE_READS = Counter("placerank_cache_reads_total", "Records asked for, by where they were found.", ["result"])
CACHE_FAILURES = Counter("placerank_cache_failures_total", "Calls that Redis did not answer.")

# The whole system, sampled by the relay. All relays export the same values, so dashboards take the maximum.
OUTBOX_LENGTH = Gauge("placerank_outbox_length", "Committed, unconfirmed messages; counted up to 100 000.")
OUTBOX_AGE = Gauge("placerank_outbox_oldest_age_seconds", "Age of the oldest unconfirmed message.")
BACKLOG_LENGTH = Gauge("placerank_backlog_length", "Unfinished inferences; counted up to 100 000.")
BACKLOG_AGE = Gauge("placerank_backlog_oldest_age_seconds", "Age of the oldest unfinished inference.")
QUEUE_MESSAGES = Gauge("placerank_queue_messages", "Messages in the broker, by state.", ["queue", "state"])
QUEUE_CONSUMERS = Gauge("placerank_queue_consumers", "Workers that the broker knows of.", ["queue"])
REGISTERED_SHARE = Gauge(
    "placerank_registry_share_ratio", "Share of the travellers that is set for a version.", ["model_version"]
)
STORED_TRAININGS = Gauge("placerank_stored_trainings", "Trainings in the database, by status.", ["status"])
STORED_PROGRESS = Gauge("placerank_stored_training_progress_ratio", "Progress of the running training; 1 if none runs.")
TRAINING_METRIC = Gauge(
    "placerank_training_metric", "Metrics of the newest trained version, on unseen travellers.", ["metric"]
)
DATABASE_SIZE = Gauge("placerank_database_size_bytes", "Size of the database.")
DATABASE_CONNECTIONS = Gauge("placerank_database_connections", "Connections to the server.")
DATABASE_CONNECTIONS_LIMIT = Gauge("placerank_database_connections_limit", "Connections that the server allows.")
DATABASE_DEADLOCKS = Gauge("placerank_database_deadlocks", "Deadlocks since the server's statistics began.")
CACHE_MEMORY = Gauge("placerank_cache_memory_bytes", "Memory that Redis uses.")
CACHE_MEMORY_LIMIT = Gauge("placerank_cache_memory_limit_bytes", "Memory that Redis may use; 0 is no limit.")
CACHE_RECORDS = Gauge("placerank_cache_records", "Keys in Redis.")
CACHE_EVICTED = Gauge("placerank_cache_evicted_records", "Keys that Redis has evicted for lack of memory.")
SAMPLED = Gauge("placerank_sampled_timestamp_seconds", "When a part of the system was last sampled.", ["part"])

#: What can be refused. Their series start at 0, so that the first refusal is seen as an increase.
REFUSABLE: Final = ("model", "place", "list", "dataset", "canary", "answer", "announcement", "message")

for _kind in REFUSABLE:
    RECORDS_REFUSED.labels(_kind)
for _code in PROBLEMS:
    FAILED.labels(_code)
for _result in ("promoted", "rolled_back"):
    CANARIES.labels(_result)


@cache
def statement_duration(name: str) -> Histogram:
    """The series of a named statement, cached: looking a label up takes three times as long as counting."""
    return STATEMENT_DURATION.labels(name)


@cache
def cache_reads(result: str) -> Counter:
    """The series of ``near`` (in this process's memory), ``hit`` or ``miss``."""
    return CACHE_READS.labels(result)


@cache
def version_series(model_version: str) -> tuple[Counter, Histogram]:
    """The series of a version's stored answers and of their best scores."""
    return RESULTS_STORED.labels(model_version), SCORE.labels(model_version)

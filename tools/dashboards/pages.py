"""The dashboards: every panel's title, unit and queries."""

from __future__ import annotations

from tools.dashboards.parts import RATE, Dashboard, Panel, k, mean_score, of, q, quantile, quantiles, rate, sum_by

USED = 'state="used"'
NONE = 'position="none"'
_ERRORS = sum_by("", rate("http_requests_total", 'status=~"5.."'))
_REQUESTS = sum_by("", rate("http_requests_total"))
_CHOSEN = rate("placerank_selections_total", 'position!="none",replaced="false"')

OVERVIEW = Dashboard(
    "overview",
    "placerank / overview",
    (
        Panel("Requests a second", "reqps", (q(sum_by("handler", rate("http_requests_total")), "{{handler}}"),)),
        Panel(
            "Errors of the service",
            "percentunit",
            (
                q(f"(({_ERRORS}) or vector(0)) / {_REQUESTS}", "5xx"),
                q(
                    f"(sum({rate('placerank_inferences_failed_total')}) or vector(0)) / "
                    f"clamp_min({sum_by('', rate('placerank_inferences_started_total'))}, 0.001)",
                    "failed inferences",
                ),
            ),
            "Replies with a status of 500 or more, and inferences that failed.",
        ),
        Panel("Time to a stored answer", "s", quantiles("placerank_answer_age_seconds")),
        Panel(
            "Time to a reply",
            "s",
            (q(quantile(0.99, "http_request_duration_seconds", "handler"), "p99 {{handler}}"),),
        ),
        Panel(
            "Inferences a second",
            "ops",
            (
                q(sum_by("", rate("placerank_inferences_started_total")), "started"),
                q(sum_by("", rate("placerank_results_stored_total")), "answered"),
                q(sum_by("code", rate("placerank_inferences_failed_total")), "failed: {{code}}"),
                q(sum_by("", rate("placerank_selections_total")), "choices"),
            ),
        ),
        Panel(
            "Saturation of the API",
            "percentunit",
            (
                q(
                    f"max({of('placerank_http_requests_in_flight')} / {of('placerank_http_requests_limit')})",
                    "requests in flight",
                ),
                q(
                    f"max by (pool) ({of('placerank_database_pool_connections', USED)} / ignoring(state) "
                    f"{of('placerank_database_pool_limit')})",
                    "connections of {{pool}}",
                ),
            ),
            "At 100 %, new work is refused or has to wait.",
        ),
        Panel("Processor", "none", (q(sum_by("pod", rate("process_cpu_seconds_total")), "{{pod}}"),), "Cores in use."),
        Panel("Memory", "bytes", (q(sum_by("pod", of("process_resident_memory_bytes")), "{{pod}}"),)),
    ),
)

QUEUE = Dashboard(
    "queue",
    "placerank / queue and autoscaling",
    (
        Panel(
            "Messages",
            "short",
            (q(f"max by (queue, state) ({of('placerank_queue_messages')})", "{{queue}} {{state}}"),),
        ),
        Panel(
            "Age of the oldest",
            "s",
            (
                q(f"max({of('placerank_backlog_oldest_age_seconds')})", "unfinished inference"),
                q(f"max({of('placerank_outbox_oldest_age_seconds')})", "not confirmed by the broker"),
                q("max(placerank:objective:backlog_age_seconds)", "objective"),
            ),
        ),
        Panel("Workers", "short", (q(f"max by (queue) ({of('placerank_queue_consumers')})", "{{queue}}"),)),
        Panel("Wait in the queue", "s", quantiles("placerank_queue_wait_seconds")),
        Panel(
            "Batches",
            "short",
            (
                q(quantile(0.5, "placerank_batch_size"), "median size"),
                q(quantile(0.95, "placerank_batch_size"), "p95 size"),
                q(sum_by("", rate("placerank_batch_size_count")), "batches a second"),
            ),
        ),
        Panel(
            "Time of a batch",
            "s",
            (
                q(quantile(0.95, "placerank_batch_duration_seconds"), "batch p95"),
                q(quantile(0.95, "placerank_scoring_duration_seconds"), "scoring p95"),
            ),
        ),
        Panel(
            "Desired and ready replicas",
            "short",
            (
                k(f"max by (deployment) ({of('kube_deployment_spec_replicas')})", "{{deployment}} desired"),
                k(f"max by (deployment) ({of('kube_deployment_status_replicas_ready')})", "{{deployment}} ready"),
            ),
        ),
        Panel(
            "KEDA",
            "short",
            (
                k(
                    'sum by (scaledObject) (rate(keda_scaler_detail_errors_total{exported_namespace=~"$namespace"}'
                    f"[{RATE}]))",
                    "errors a second of {{scaledObject}}",
                ),
                k(
                    'max by (scaledObject) (keda_scaler_metrics_value{exported_namespace=~"$namespace"})',
                    "length that {{scaledObject}} sees",
                ),
            ),
        ),
    ),
)

MODELS = Dashboard(
    "models",
    "placerank / model quality",
    (
        Panel(
            "Choice rate by version",
            "percentunit",
            (
                q(
                    f"{sum_by('model_version', _CHOSEN)} / "
                    f"{sum_by('model_version', rate('placerank_results_stored_total'))}",
                    "{{model_version}}",
                ),
            ),
            "First choices of a place, divided by all answers.",
        ),
        Panel(
            "Choices by position",
            "percentunit",
            (
                q(
                    f"{sum_by('position', _CHOSEN)} / ignoring(position) group_left {sum_by('', _CHOSEN)}",
                    "{{position}}",
                ),
            ),
        ),
        Panel(
            "Chose none",
            "percentunit",
            (
                q(
                    f"{sum_by('model_version', rate('placerank_selections_total', NONE))} / "
                    f"{sum_by('model_version', rate('placerank_selections_total'))}",
                    "{{model_version}}",
                ),
            ),
        ),
        Panel(
            "Best score, median",
            "none",
            (q(quantile(0.5, "placerank_answer_score", "model_version"), "{{model_version}}"),),
        ),
        Panel(
            "Drift of the best score",
            "none",
            (q(f"abs({mean_score(RATE)} - {mean_score('1d')})", "{{model_version}}"),),
            "Difference between the current mean and the mean of the last day.",
        ),
        Panel(
            "Share of the travellers",
            "percentunit",
            (
                q(f"max by (model_version) ({of('placerank_registry_share_ratio')})", "{{model_version}} registered"),
                q(f"avg by (model_version) ({of('placerank_model_share_ratio')})", "{{model_version}} served"),
            ),
            "A canary is a version with a small share.",
        ),
        Panel(
            "Answers a second by version",
            "ops",
            (q(sum_by("model_version", rate("placerank_results_stored_total")), "{{model_version}}"),),
        ),
        Panel(
            "Canaries",
            "short",
            (q(sum_by("result", of("placerank_canaries_total")), "{{result}}"),),
            "Canaries that reached all travellers, and canaries that were rolled back.",
        ),
        Panel(
            "Catalogue",
            "short",
            (
                q(f"max({of('placerank_catalogue_places')})", "places"),
                q(f"max by (pod) ({of('placerank_catalogue_version')}) > 0", "version at {{pod}}"),
            ),
        ),
    ),
)

TRAINING = Dashboard(
    "training",
    "placerank / training",
    (
        Panel("Trainings", "short", (q(f"max by (status) ({of('placerank_stored_trainings')})", "{{status}}"),)),
        Panel("Progress", "percentunit", (q(f"max({of('placerank_stored_training_progress_ratio')})", "running"),)),
        Panel(
            "The newest version on unseen travellers",
            "none",
            (q(f"max by (metric) ({of('placerank_training_metric')})", "{{metric}}"),),
        ),
        Panel(
            "Time of a training",
            "s",
            (
                q(
                    f"{sum_by('', of('placerank_training_duration_seconds_sum'))} / "
                    f"clamp_min({sum_by('', of('placerank_training_duration_seconds_count'))}, 1)",
                    "mean",
                ),
            ),
        ),
    ),
)

SERVICES = Dashboard(
    "services",
    "placerank / broker, database, cache",
    (
        Panel(
            "Messages published",
            "ops",
            (q(sum_by("queue, result", rate("placerank_messages_published_total")), "{{queue}} {{result}}"),),
        ),
        Panel(
            "Confirms",
            "short",
            (
                q(sum_by("pod", of("placerank_confirms_in_flight")), "in flight at {{pod}}"),
                q(f"min by (pod) ({of('placerank_broker_connected')})", "{{pod}} connected"),
            ),
        ),
        Panel("Time to a confirm", "s", quantiles("placerank_publish_duration_seconds")),
        Panel(
            "Outbox",
            "short",
            (
                q(f"max({of('placerank_outbox_length')})", "committed and not confirmed"),
                q(sum_by("queue, reason", rate("placerank_relayed_total")), "relayed a second: {{queue}} {{reason}}"),
            ),
        ),
        Panel(
            "Statements",
            "s",
            (q(quantile(0.95, "placerank_database_statement_duration_seconds", "statement"), "p95 {{statement}}"),),
        ),
        Panel(
            "Connections to PostgreSQL",
            "short",
            (
                q(sum_by("pool, state", of("placerank_database_pool_connections")), "{{pool}} {{state}}"),
                q(sum_by("pool", of("placerank_database_pool_waiting")), "{{pool}} waiting"),
                q(f"max({of('placerank_database_connections')})", "all, at the server"),
            ),
        ),
        Panel("Size of the database", "bytes", (q(f"max({of('placerank_database_size_bytes')})", "database"),)),
        Panel(
            "Memory of Redis",
            "bytes",
            (
                q(f"max({of('placerank_cache_memory_bytes')})", "used"),
                q(f"max({of('placerank_cache_memory_limit_bytes')})", "limit"),
            ),
        ),
        Panel(
            "Where answers are found",
            "ops",
            (q(sum_by("result", rate("placerank_cache_reads_total")), "{{result}}"),),
            "near: in the API's own memory; hit and miss: in Redis.",
        ),
        Panel(
            "Failures",
            "ops",
            (
                q(sum_by("", rate("placerank_cache_failures_total")), "cache"),
                q(sum_by("", rate("placerank_database_failures_total")), "database"),
            ),
        ),
    ),
)

ALL = (OVERVIEW, QUEUE, MODELS, TRAINING, SERVICES)

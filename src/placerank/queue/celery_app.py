"""The Celery app of the workers. The API publishes without it and never imports this module."""

from __future__ import annotations

from celery import Celery
from kombu import Exchange, Queue

from placerank.queue import topology

#: The prefetch window is this many times the threads, so at least four batches. With a smaller one, batches stay small.
_PREFETCH_BATCHES = 4


def make_app(broker_url: str) -> Celery:
    """A Celery app without tasks yet; ``memory://`` is the broker of embedded mode."""
    app = Celery("placerank", set_as_current=False)
    exchange = Exchange(topology.EXCHANGE, type="topic", durable=True)
    app.conf.update(
        # Not broker_url: Celery prefers the environment's CELERY_BROKER_URL to it. That may lack the password, which
        # can be set separately.
        broker_read_url=broker_url,
        broker_write_url=broker_url,
        broker_transport_options={"confirm_publish": True},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        result_backend=None,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        # Messages without acknowledgement are redelivered: only a stored result or a stored failure ends a task.
        task_acks_late=True,
        task_acks_on_failure_or_timeout=True,
        task_reject_on_worker_lost=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_queues=[
            Queue(queue.name, exchange, routing_key=queue.name, queue_arguments=dict(topology.QUEUE_ARGUMENTS))
            for queue in topology.WORK_QUEUES
        ],
        task_default_queue=topology.INFERENCE.name,
        task_default_exchange=topology.EXCHANGE,
        task_default_exchange_type="topic",
        task_default_routing_key=topology.INFERENCE.name,
        task_routes={queue.task: {"queue": queue.name} for queue in topology.WORK_QUEUES},
        task_create_missing_queues=False,
        task_create_missing_queue_type="quorum",
        # With an exclusive control queue, a worker crashes if it reconnects before the broker noticed that it was gone.
        control_queue_durable=True,
        control_queue_exclusive=False,
        event_queue_durable=True,
        event_queue_exclusive=False,
        worker_prefetch_multiplier=_PREFETCH_BATCHES,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_log_color=False,
    )
    return app

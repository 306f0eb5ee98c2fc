"""Contradicting values stop the rendering with a sentence that says what to change."""

from __future__ import annotations

import re

import pytest
from tests.chart.rendering import APIS, RenderFailed, render_text

_EXTERNAL_BROKER = ("rabbitmq.enabled=false", "externalRabbitmq.host=b", "externalRabbitmq.existingSecret=s")

REFUSED = {
    "no KEDA": (
        (),
        (),
        (
            "autoscaling.mode is keda, and this cluster has no KEDA: install KEDA (https://keda.sh), set "
            "autoscaling.mode to hpa or none, or render with --api-versions keda.sh/v1alpha1."
        ),
    ),
    "no operator": (
        ("monitoring.enabled=true",),
        APIS[:1],
        (
            "monitoring.enabled is true, and this cluster has no "
            "Prometheus operator: install it, set monitoring.enabled to false, or render with --api-versions "
            "monitoring.coreos.com/v1."
        ),
    ),
    "latest": (
        ("image.api.tag=latest",),
        APIS,
        (
            'image.api.tag is "latest", which names no version, so that an upgrade '
            "would change nothing: set image.api.tag to a version, or image.api.digest."
        ),
    ),
    "latest worker": (
        ("image.worker.tag=latest",),
        APIS,
        (
            'image.worker.tag is "latest", which names no version, so '
            "that an upgrade would change nothing: set image.worker.tag to a version, or "
            "image.worker.digest."
        ),
    ),
    "latest subchart": (
        ("redis.image.tag=latest",),
        APIS,
        ('redis.image.tag is "latest", which names no version: set it to one.'),
    ),
    "no database": (
        ("postgresql.enabled=false",),
        APIS,
        ("There is no database: set postgresql.enabled to true, or externalPostgresql.host to the address of yours."),
    ),
    "no broker": (
        ("rabbitmq.enabled=false",),
        APIS,
        ("There is no broker: set rabbitmq.enabled to true, or externalRabbitmq.host to the address of yours."),
    ),
    "no cache": (
        ("redis.enabled=false",),
        APIS,
        ("There is no cache: set redis.enabled to true, or externalRedis.host to the address of yours."),
    ),
    "database without secret": (
        ("postgresql.enabled=false", "externalPostgresql.host=d"),
        APIS,
        (
            "externalPostgresql.host is set without credentials: set "
            "externalPostgresql.existingSecret to a Secret with username and password."
        ),
    ),
    "broker without secret": (
        ("rabbitmq.enabled=false", "externalRabbitmq.host=b"),
        APIS,
        (
            "externalRabbitmq.host is set without credentials: set externalRabbitmq.existingSecret "
            "to a Secret with username and password."
        ),
    ),
    "cache without secret": (
        ("redis.enabled=false", "externalRedis.host=c"),
        APIS,
        (
            "externalRedis.host is set without "
            "credentials: set externalRedis.existingSecret to a Secret with the password."
        ),
    ),
    "KEDA without management": (
        _EXTERNAL_BROKER,
        APIS,
        (
            "autoscaling.mode keda reads the queue's length from the "
            "broker's management API: set externalRabbitmq.managementUrl, or autoscaling.mode to "
            "hpa or none."
        ),
    ),
    "class without queue": (
        ("worker.classes.big.maxReplicas=2",),
        APIS,
        ("worker.classes.big has no queue: set worker.classes.big.queue to inference or training."),
    ),
    "minimum above maximum": (
        ("worker.classes.cpu.minReplicas=5",),
        APIS,
        (
            "worker.classes.cpu.minReplicas (5) is "
            "above worker.classes.cpu.maxReplicas (4): lower the one or raise the other."
        ),
    ),
    "two trainings": (
        ("worker.classes.training.maxReplicas=2",),
        APIS,
        ("worker.classes.training.maxReplicas is 2, and trainings run one at a time: set it to 1."),
    ),
    "GPU class without GPU": (
        ("worker.classes.cpu.device=cuda",),
        APIS,
        (
            "worker.classes.cpu.device is cuda, but no "
            "GPU is requested: set worker.classes.cpu.resources.limits to {nvidia.com/gpu: 1}, or "
            "the device to cpu."
        ),
    ),
    "GPU for a CPU class": (
        (r"worker.classes.cpu.resources.limits.nvidia\.com/gpu=1",),
        APIS,
        (
            "worker.classes.cpu.resources.limits requests nvidia.com/gpu, but its device is cpu: set "
            "worker.classes.cpu.device to cuda, or request no GPU."
        ),
    ),
    "batch that never fills": (
        ("worker.classes.cpu.batchSize=128",),
        APIS,
        (
            "worker.classes.cpu.threads (64) is below "
            "worker.classes.cpu.batchSize (128), so no batch could be full: raise the first or "
            "lower the second."
        ),
    ),
    "nobody infers": (
        ("worker.classes.cpu=null",),
        APIS,
        (
            "No class of worker.classes works on the inference queue, "
            "so no request would be answered: set the queue of one class to inference."
        ),
    ),
    "API minimum above maximum": (
        ("api.autoscaling.enabled=true", "api.autoscaling.minReplicas=7"),
        APIS,
        ("api.autoscaling.minReplicas (7) is above api.autoscaling.maxReplicas (6): lower the one or raise the other."),
    ),
    "no time to finish": (
        ("api.drainSeconds=40",),
        APIS,
        (
            "api.terminationGracePeriodSeconds leaves less than five "
            "seconds after api.drainSeconds to finish requests: raise it."
        ),
    ),
    "Ingress without host": (
        ("api.ingress.enabled=true",),
        APIS,
        ("api.ingress.enabled is true without a host: set api.ingress.hosts."),
    ),
    "route without Gateway": (
        ("api.httpRoute.enabled=true",),
        APIS,
        ("api.httpRoute.enabled is true without a Gateway: set api.httpRoute.parentRefs."),
    ),
    "Secret without the name of its key": (
        ("api.auth.existingSecret=keys", "api.auth.adminKeysKey="),
        APIS,
        (
            "api.auth.existingSecret is set without the names of its keys: set api.auth.keysKey and "
            "api.auth.adminKeysKey."
        ),
    ),
    "variable that is no setting": (
        ("api.extraEnv[0].name=PLACERANK_ADMIN_KEYS", "api.extraEnv[0].value=secret"),
        APIS,
        (
            "api.extraEnv has PLACERANK_ADMIN_KEYS, which is not a setting of placerank, because its name has no "
            "double underscore: use a name of docs/reference/settings.md."
        ),
    ),
    "blank password": (
        ("worker.classes.cpu.extraEnv[0].name=PLACERANK_CACHE__PASSWORD", "worker.classes.cpu.extraEnv[0].value=  "),
        APIS,
        "worker.classes.cpu.extraEnv.PLACERANK_CACHE__PASSWORD is blank: give it a value or remove it.",
    ),
}

NO_KEYS = ["", " ", r"\,", r" \, \,"]
UNSENDABLE = ["one two", r"one\,-", "sécret", r'\,""']
LISTS = {
    "settings.{}": ("settings.{}={}",),
    "api.extraEnv.{}": ("api.extraEnv[0].name={}", "api.extraEnv[0].value={}"),
    "relay.extraEnv.{}": ("relay.extraEnv[0].name={}", "relay.extraEnv[0].value={}"),
    "worker.defaults.extraEnv.{}": ("worker.defaults.extraEnv[0].name={}", "worker.defaults.extraEnv[0].value={}"),
}


def _render_keys(sets: tuple[str, ...], variable: str, value: str) -> str:
    head, tail = (sets[0], sets[-1]) if len(sets) > 1 else ("", sets[0])
    named = [head.format(variable)] if head else []
    return render_text(*named, tail.format(variable, value) if not head else tail.format(value))


@pytest.mark.parametrize("variable", ["PLACERANK_API__KEYS", "PLACERANK_API__ADMIN_KEYS"])
@pytest.mark.parametrize("at", LISTS)
@pytest.mark.parametrize("value", [*NO_KEYS, *UNSENDABLE])
def test_a_list_of_keys_without_a_usable_one_is_refused(at: str, variable: str, value: str) -> None:
    with pytest.raises(RenderFailed) as refused:
        _render_keys(LISTS[at], variable, value)
    reason = "holds no key" if value in NO_KEYS else "holds a key that no client can send"
    assert f"{at.format(variable)} {reason}" in str(refused.value)


@pytest.mark.parametrize("at", LISTS)
def test_a_list_of_usable_keys_is_rendered(at: str) -> None:
    assert "one, two," in _render_keys(LISTS[at], "PLACERANK_API__ADMIN_KEYS", r"one\, two\,")


@pytest.mark.parametrize(("sets", "apis", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_contradiction_gives_its_sentence(sets: tuple[str, ...], apis: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(RenderFailed) as refused:
        render_text(*sets, apis=apis)
    said = re.search(r"validate\.yaml:\d+:\d+\): (.*)", str(refused.value))
    assert said is not None, str(refused.value)
    assert said[1] == sentence


def test_a_long_release_name_is_refused() -> None:
    with pytest.raises(RenderFailed, match="has more than 32 characters"):
        render_text(release="r" * 33)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("autoscaling.mode=both", "autoscaling mode one of keda hpa none"),
        ("autoscaling.hpaa.enabled=true", "autoscaling hpaa not allowed"),
        ("replicas=2", "placerank: replicas not allowed"),
        ("worker.classes.cpu.devise=cuda", "worker classes cpu devise not allowed"),
        ("worker.classes.Big_One.queue=inference", "worker classes Big_One not allowed"),
        ("api.replicas=0", "api replicas 1"),
        ("rabbitmq.vhost=/", "rabbitmq: vhost not match"),
        ("redis.maxMemory=lots", "redis: maxMemory not match"),
        ("postgresql.replicas=2", "postgresql: replicas not allowed"),
        ("settings.DATABASE_URL=x", "settings DATABASE_URL not allowed"),
        ("api.auth.existingSecret= ", "api auth existingSecret not match"),
        ("api.auth.keysKey= ", "api auth keysKey not match"),
        ("redis.auth.existingSecret=\t", "redis: auth existingSecret not match"),
        ("externalRabbitmq.managementUrl=http://me:secret@b", "externalRabbitmq managementUrl not match"),
    ],
)
def test_a_wrong_value_is_refused_by_the_schema(change: str, words: str) -> None:
    """Versions of Helm word this error differently, but all of them name the place and the reason."""
    with pytest.raises(RenderFailed, match="don't meet the specifications of the schema") as refused:
        render_text(change)
    for word in words.split():
        assert word in str(refused.value)

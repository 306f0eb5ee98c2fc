"""Passwords are only in Secrets, are generated once, and each can be replaced."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.chart.rendering import CHART, environment, of_kind, parts, render, render_text
from tests.chart.test_objects import every_set

if TYPE_CHECKING:
    from pathlib import Path


def _generated(objects: tuple[dict[str, Any], ...]) -> list[str]:
    secrets = of_kind(objects, "Secret").values()
    coded = [value for secret in secrets for key, value in secret["data"].items() if key != "username"]
    return [form for value in coded for form in (value, base64.b64decode(value).decode())]


@every_set
def test_no_generated_secret_stands_anywhere_else(values: Path | None) -> None:
    objects = render(values=values)
    elsewhere = json.dumps([one for one in objects if one["kind"] != "Secret"])
    for secret in _generated(objects):
        assert secret not in elsewhere


@every_set
def test_credentials_come_by_reference_only(values: Path | None) -> None:
    for part in parts(render(values=values)):
        for container in part.containers():
            for name, value in environment(container).items() if "env" in container else ():
                if any(word in name for word in ("PASSWORD", "KEYS", "COOKIE", "AUTH")) and not name.endswith("_FILE"):
                    assert "secretKeyRef" in value, f"{part.name} {name}"
                if isinstance(value, str) and "://" in value:
                    assert "@" not in value, f"{part.name} {name}"


def test_credentials_of_the_autoscaler_stand_in_its_authentication_only() -> None:
    for name, one in of_kind(render(), "ScaledObject").items():
        metadata = one["spec"]["triggers"][0]["metadata"]
        assert "@" not in metadata["host"]
        assert not {"username", "password", "hostFromEnv", "passwordFromEnv", "usernameFromEnv"} & set(metadata)
        authentication = of_kind(render(), "TriggerAuthentication")[name]
        assert [one["parameter"] for one in authentication["spec"]["secretTargetRef"]] == ["username", "password"]


def test_generated_secrets_are_kept_by_uninstall() -> None:
    secrets = of_kind(render(), "Secret")
    assert set(secrets) == {"placerank-postgresql", "placerank-rabbitmq", "placerank-redis"}
    for secret in secrets.values():
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert len(base64.b64decode(secret["data"]["password"])) >= 32


def test_two_renders_differ_in_secrets_only() -> None:
    """A random value in a pod template would restart the pod at every upgrade."""
    blocks = [{block for block in render_text().split("\n---\n") if "\nkind: Secret\n" not in block} for _ in range(2)]
    assert blocks[0] == blocks[1]


def test_with_secrets_of_ones_own_none_is_generated() -> None:
    objects = render(values=CHART / "ci" / "argocd-values.yaml")
    assert not of_kind(objects, "Secret")
    assert "lookup" not in json.dumps(objects)


@pytest.mark.parametrize(
    ("service", "variables"),
    [
        ("postgresql", ["PLACERANK_DATABASE__USER", "PLACERANK_DATABASE__PASSWORD"]),
        ("rabbitmq", ["PLACERANK_BROKER__USER", "PLACERANK_BROKER__PASSWORD"]),
        ("redis", ["PLACERANK_CACHE__PASSWORD"]),
    ],
)
def test_a_secret_of_ones_own_is_read_by_both_sides(service: str, variables: list[str]) -> None:
    objects = render(f"{service}.auth.existingSecret=mine", f"{service}.auth.passwordKey=pw")
    assert f"placerank-{service}" not in of_kind(objects, "Secret")
    server = of_kind(objects, "StatefulSet")[f"placerank-{service}"]
    assert '"mine"' in json.dumps(server)
    assert '"pw"' in json.dumps(server)
    api = environment(of_kind(objects, "Deployment")["placerank-api"]["spec"]["template"]["spec"]["containers"][0])
    assert {api[name]["secretKeyRef"]["name"] for name in variables} == {"mine"}
    assert api[variables[-1]]["secretKeyRef"]["key"] == "pw"


def test_the_keys_of_the_api_reach_it_and_the_test_and_nobody_else() -> None:
    objects = render("api.auth.existingSecret=keys")
    holders = {
        part.name for part in parts(objects) for c in part.containers() if "PLACERANK_API__KEYS" in environment(c)
    }
    assert holders == {"Deployment/placerank-api", "Pod/placerank-test"}


def test_without_keys_no_variable_of_them_is_set() -> None:
    """A variable that is set to nothing would stop the API's start."""
    for part in parts(render()):
        for container in part.containers():
            assert not [name for name in environment(container) if name.endswith("KEYS")], part.name
            assert "" not in environment(container).values(), part.name

"""The files for kind, Skaffold and k8s/ are valid for their tools and agree with the chart."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from tests.unit.packaging.files import ROOT, SCHEMAS, is_ignored, load, load_all, stages, whole

SKAFFOLD = load("skaffold.yaml")
KIND = load("kind-config.yaml")
VALUES = load("charts/placerank/values.yaml")
PROFILES = [[], ["dev"], ["kind"], ["gpu"], ["dev", "kind", "gpu"]]
MANIFESTS = ["k8s/namespaces.yaml", "k8s/runtime-class-nvidia.yaml"]
KUBERNETES = "1.34"


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / name).read_text(encoding="utf-8"))


def parent(of: Any, path: str) -> tuple[Any, Any]:
    """The object or list that contains the target of a JSON pointer, and the last key; earlier steps must exist."""
    *steps, last = path.strip("/").split("/")
    for step in steps:
        of = of[int(step)] if isinstance(of, list) else of[step]
    return of, last if isinstance(of, dict) or last == "-" else int(last)


def patched(names: list[str]) -> Any:
    """The configuration with profiles applied, as Skaffold applies them."""
    config = deepcopy(SKAFFOLD)
    known = {profile["name"]: profile for profile in config.pop("profiles")}
    for patch in (patch for name in names for patch in known[name]["patches"]):
        container, key = parent(config, patch["path"])
        if key == "-":
            container.append(patch["value"])
        else:
            assert patch["op"] == "add" or (key in container if isinstance(container, dict) else True)
            container[key] = patch["value"]
    return config


@pytest.mark.parametrize(
    ("name", "config"), [("skaffold-v4beta11.json", SKAFFOLD), ("kind-v1alpha4.json", KIND)], ids=["skaffold", "kind"]
)
def test_it_follows_its_schema(name: str, config: Any) -> None:
    jsonschema.validate(config, schema(name))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "unknown": 1}, schema(name))


@pytest.mark.parametrize("names", PROFILES, ids="+".join)
def test_profiles_give_what_follows_the_schema(names: list[str]) -> None:
    jsonschema.validate(patched(names), schema("skaffold-v4beta11.json"))


def test_skaffold_reads_its_own_version_of_the_schema() -> None:
    assert SKAFFOLD["apiVersion"] in json.dumps(schema("skaffold-v4beta11.json")["$comment"])


@pytest.mark.parametrize("names", PROFILES, ids="+".join)
def test_skaffold_builds_what_the_dockerfile_has(names: list[str]) -> None:
    for artifact in patched(names)["build"]["artifacts"]:
        assert artifact["docker"]["target"] in stages()


@pytest.mark.parametrize("names", PROFILES, ids="+".join)
def test_skaffold_sets_values_that_the_chart_has(names: list[str]) -> None:
    (release,) = patched(names)["deploy"]["helm"]["releases"]
    for key in [*release["setValueTemplates"], *release.get("setValues", {})]:
        container, last = parent(VALUES, key.replace(".", "/"))
        assert last in container, key
    for name in release["valuesFiles"]:
        assert (ROOT / name).is_file(), name
    images = [artifact["image"].replace("/", "_") for artifact in SKAFFOLD["build"]["artifacts"]]
    for image, key in zip(images, ("api", "worker"), strict=True):
        assert release["setValueTemplates"][f"image.{key}.repository"] == f"{{{{.IMAGE_REPO_{image}}}}}"


def test_skaffold_forwards_to_the_service_of_the_api() -> None:
    (forward,) = SKAFFOLD["portForward"]
    (release,) = SKAFFOLD["deploy"]["helm"]["releases"]
    assert forward["port"] == VALUES["api"]["service"]["port"]
    assert (forward["localPort"], forward["namespace"]) == (8000, release["namespace"])
    assert forward["resourceName"] == f"{release['name']}-api"


def test_changed_code_goes_where_the_images_for_it_run_from() -> None:
    for artifact in patched(["dev"])["build"]["artifacts"]:
        (rule,) = artifact["sync"]["manual"]
        entry = [one.arguments for one in whole(artifact["docker"]["target"]) if one.name == "ENTRYPOINT"][-1]
        assert json.loads(entry)[2:] == [rule["dest"], "placerank"]
        assert (rule["src"].split("/**")[0], rule["strip"]) == ("src/placerank", "src/")
        assert not is_ignored("src/placerank/cli/__init__.py"), "Skaffold watches only what the builder gets"


@pytest.mark.parametrize("name", MANIFESTS)
def test_kubernetes_takes_them(name: str) -> None:
    for manifest in load_all(name):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_every_manifest_is_looked_at() -> None:
    found = {f"k8s/{path.name}" for path in (ROOT / "k8s").glob("*.yaml") if "apiVersion:" in path.read_text()}
    assert found == set(MANIFESTS)


def test_namespaces_are_restricted_and_those_of_the_policies() -> None:
    namespaces = {one["metadata"]["name"]: one["metadata"]["labels"] for one in load_all("k8s/namespaces.yaml")}
    levels = {name: labels["pod-security.kubernetes.io/enforce"] for name, labels in namespaces.items()}
    assert levels == {"placerank": "restricted", "keda": "restricted", "monitoring": "baseline"}
    for which in ("kedaNamespace", "monitoringNamespace"):
        assert VALUES["networkPolicy"][which]["kubernetes.io/metadata.name"] in namespaces
    assert SKAFFOLD["deploy"]["helm"]["releases"][0]["namespace"] in namespaces


def merged(below: Any, above: Any) -> Any:
    """Values merged over other values, as Helm merges them."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def test_values_for_kind_are_values_of_the_chart() -> None:
    given = load("k8s/placerank-kind-values.yaml")
    charts = {"": given, **{f"charts/{name}/": given[name] for name in ("postgresql", "rabbitmq", "redis")}}
    for folder, values in charts.items():
        strict = json.loads((ROOT / f"charts/placerank/{folder}values.schema.json").read_text(encoding="utf-8"))
        jsonschema.validate(merged(load(f"charts/placerank/{folder}values.yaml"), values), strict)


def test_shared_gpus_keep_the_name_that_the_chart_asks_for() -> None:
    config = yaml.safe_load(load("k8s/gpu-time-slicing.yaml")["config"]["map"]["default"])
    slicing = config["sharing"]["timeSlicing"]
    assert not slicing["renameByDefault"]
    gpu = load("charts/placerank/ci/gpu-values.yaml")["worker"]["classes"]["gpu"]
    assert {one["name"] for one in slicing["resources"]} <= set(gpu["resources"]["limits"])
    assert gpu["runtimeClassName"] == load("k8s/runtime-class-nvidia.yaml")["metadata"]["name"]

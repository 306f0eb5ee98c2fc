"""The tests of the chart need Helm, which is not a Python package. Without it they are skipped; in CI they fail."""

from __future__ import annotations

import pytest
from tests.chart.rendering import helm
from tests.conftest import in_ci


@pytest.fixture(autouse=True, scope="session")
def _needs_helm() -> None:
    if helm() is None:
        sentence = "the chart's tests need helm 3.15 or newer on PATH (https://helm.sh)"
        if in_ci():
            pytest.fail(sentence)
        pytest.skip(sentence)

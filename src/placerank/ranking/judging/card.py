"""A model card in Markdown: what a model is, its training data and its metrics (Mitchell et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from placerank.ranking.features import FEATURE_VERSION, WEIGHT_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placerank.ranking.model import Model

_KINDS: Final = {
    "prior": "Hand-chosen weights. It was not trained on any data.",
    "logit": "A conditional logit over the places shown and choosing nothing, regularised toward the prior.",
    "lapse": "A choice model with a lapse rate (choices at random) and few weights, regularised toward each other.",
    "rich": "A choice model with a lapse rate, saturating ratings, combinations of wishes and a squared log price.",
}
_MIND: Final = (
    "## Limitations\n\nTraining data are choices among the places that were shown, by the travellers who were there. "
    "For other places and other travellers the model may be worse. Names and ids are not features."
)
_MOST_WEIGHTS: Final = 20


def model_card(model: Model, intervals: Mapping[str, tuple[float, float]], name: str = "") -> str:
    """The card of a model; ``intervals`` are the 95 % intervals of its metrics, by traveller."""
    parts = [
        f"# Model {name or model.digest[:12]}",
        _KINDS[model.kind],
        "It ranks places for a traveller. A score is P(the place is chosen | the places shown and choosing nothing).",
        _table("What it is", _facts(model)),
        _table("What it learned from", dict(model.data) or {"lists": "none"}),
        _table("How good it is, on held-out travellers", _metrics(model, intervals)),
        _table("Greatest weights (weight times the spread of its feature)", _weights(model)),
        _MIND,
    ]
    return "\n\n".join(parts) + "\n"


def _facts(model: Model) -> dict[str, str]:
    mixture = model.mixture
    return {
        "kind": model.kind,
        "features": f"version {FEATURE_VERSION}",
        "products for each place": str(model.cost),
        "choices made at random": f"{mixture.lapse:.1%}",
        "weights of the inclusive values": f"{mixture.preference:.3f} preference, {mixture.acceptance:.3f} acceptance",
        "sha256": model.digest,
    }


def _metrics(model: Model, intervals: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    found = {}
    for name, value in model.metrics.items():
        low_high = intervals.get(name)
        found[name] = f"{value:.4f}" + (f" ({low_high[0]:.4f} to {low_high[1]:.4f})" if low_high else "")
    return found


def _weights(model: Model) -> dict[str, str]:
    spread = model.normaliser
    sizes = [(name, weight * spread.get(name, 1.0)) for name, weight in zip(WEIGHT_NAMES, model.weights, strict=True)]
    greatest = sorted(sizes, key=lambda one: -abs(one[1]))[:_MOST_WEIGHTS]
    return {f"`{name}`": f"{size:+.3f}" for name, size in greatest if size}


def _table(title: str, rows: Mapping[str, str]) -> str:
    return f"## {title}\n\n| | |\n| --- | --- |\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items())

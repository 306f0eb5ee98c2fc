"""Decides whether a new model may replace the one in use. Both are evaluated on the same held-out lists."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from placerank.ranking.judging.bootstrap import mean_interval
from placerank.ranking.judging.metrics import evaluate, list_areas, list_losses

if TYPE_CHECKING:
    from placerank.ranking.lists import ShownLists
    from placerank.ranking.model import Model

#: A smaller difference of calibration errors is ignored: with a few hundred lists it is about as large as their noise.
_WORSE_CALIBRATION: Final = 0.01
#: The coverage must be at least this fraction of the coverage of the model in use.
_LEAST_COVERAGE: Final = 0.8
#: The number of products per place may be at most this multiple of that of the model in use.
_GREATEST_COST: Final = 3.0


@dataclass(frozen=True, slots=True)
class Side:
    """The metrics of one of the two models; ``cost`` is the number of products per place."""

    log_loss: float
    auc_within_lists: float
    ece: float
    coverage: float
    cost: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the challenger passes, the reasons if it does not (sentences), and the figures behind the decision.

    ``gain`` is the champion's loss minus the challenger's, in nats per list, and ``interval`` its 95 % interval by
    traveller. ``order`` holds the 95 % intervals of the area under the curve within lists: first that of the
    challenger's area, then that of the challenger's area minus the champion's.
    """

    passed: bool
    reasons: tuple[str, ...]
    lists: int
    travellers: int
    gain: float
    interval: tuple[float, float]
    order: tuple[tuple[float, float], tuple[float, float]]
    champion: Side
    challenger: Side

    def as_dict(self) -> dict[str, Any]:
        """The decision as JSON."""
        return asdict(self)


def decide(champion: Model, challenger: Model, window: ShownLists, seed: int) -> Decision:
    """Compare the two models on ``window``, which must hold at least one list."""
    gains = list_losses(champion, window) - list_losses(challenger, window)
    interval = mean_interval(gains, window.identities, seed)
    old, new = _side(champion, window), _side(challenger, window)
    order = _order(champion, challenger, window, seed)
    travellers = len(set(window.identities))
    reasons = (*_reasons_of_size(travellers), *_reasons(interval, old, new), *_reasons_of_order(order))
    return Decision(not reasons, reasons, len(window), travellers, float(gains.mean()), interval, order, old, new)


def _reasons(interval: tuple[float, float], old: Side, new: Side) -> list[str]:
    found = []
    if interval[0] <= 0:
        found.append(
            f"It is not better with 95 % confidence: the gain is {interval[0]:.4f} to {interval[1]:.4f} nats per list."
        )
    if new.ece > old.ece + _WORSE_CALIBRATION:
        found.append(f"It is worse calibrated: the calibration error is {new.ece:.4f} instead of {old.ece:.4f}.")
    if new.coverage < _LEAST_COVERAGE * old.coverage:
        found.append(f"Its coverage is too low: {new.coverage:.3f} of the places come first, not {old.coverage:.3f}.")
    if new.cost > _GREATEST_COST * old.cost:
        found.append(f"It costs too much: {new.cost} products per place instead of {old.cost}.")
    return found


def _reasons_of_size(travellers: int) -> list[str]:
    # The intervals of a single traveller have no width.
    return ["The lists are of one traveller, who says nothing about others."] if travellers < 2 else []


def _reasons_of_order(order: tuple[tuple[float, float], tuple[float, float]]) -> list[str]:
    own, more = order
    if own[0] <= 0.5:
        # If choices are noise, a model that predicts noise has the lowest loss, although it has learned nothing.
        return [f"Its order is not better than chance with 95 % confidence: the AUC is {own[0]:.4f} to {own[1]:.4f}."]
    if more[1] < 0:
        return [f"Its order is worse: the AUC within lists changes by {more[0]:.4f} to {more[1]:.4f}."]
    return []


def _order(
    champion: Model, challenger: Model, window: ShownLists, seed: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    (old, which), (new, _) = list_areas(champion, window), list_areas(challenger, window)
    if not len(which):
        return (0.5, 0.5), (0.0, 0.0)
    identities = [window.identities[one] for one in which.tolist()]
    return mean_interval(new, identities, seed), mean_interval(new - old, identities, seed)


def _side(model: Model, window: ShownLists) -> Side:
    metrics = evaluate(model, window)
    return Side(metrics["log_loss"], metrics["auc_within_lists"], metrics["ece"], metrics["coverage"], model.cost)

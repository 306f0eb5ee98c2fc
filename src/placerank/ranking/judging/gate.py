"""Whether a new model may take over from the one in use: both judged on the same lists, which neither has seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from placerank.ranking.judging.bootstrap import mean_interval
from placerank.ranking.judging.metrics import evaluate, list_areas, list_losses

if TYPE_CHECKING:
    from placerank.ranking.lists import ShownLists
    from placerank.ranking.model import Model

#: Calibration errors that differ by less are one and the same: with a few hundred lists that is about their noise.
_WORSE_CALIBRATION: Final = 0.01
#: The share of places that ever come first may fall so far below that of the model in use.
_LEAST_COVERAGE: Final = 0.8
#: A place may cost so many times the products that it costs now.
_GREATEST_COST: Final = 3.0


@dataclass(frozen=True, slots=True)
class Side:
    """The figures of one of the two models; ``cost`` is products for each place."""

    log_loss: float
    auc_within_lists: float
    ece: float
    coverage: float
    cost: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the challenger passes, why not (sentences), and the figures that say so.

    ``gain`` is the champion's loss less the challenger's, in nats a list, with its 95 % interval by traveller;
    ``order`` is that of the area under the curve within lists, of the challenger and of what it has more.
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
    """Compare the two on ``window``, of which there must be one list at least."""
    gains = list_losses(champion, window) - list_losses(challenger, window)
    interval = mean_interval(gains, window.identities, seed)
    old, new = _side(champion, window), _side(challenger, window)
    order = _order(champion, challenger, window, seed)
    reasons = (*_reasons(interval, old, new), *_reasons_of_order(order))
    travellers = len(set(window.identities))
    return Decision(not reasons, reasons, len(window), travellers, float(gains.mean()), interval, order, old, new)


def _reasons(interval: tuple[float, float], old: Side, new: Side) -> list[str]:
    found = []
    if interval[0] <= 0:
        found.append(
            f"It is not better for certain: the gain lies between {interval[0]:.4f} and {interval[1]:.4f} nats."
        )
    if new.ece > old.ece + _WORSE_CALIBRATION:
        found.append(f"Its chances are worse calibrated: an error of {new.ece:.4f} instead of {old.ece:.4f}.")
    if new.coverage < _LEAST_COVERAGE * old.coverage:
        found.append(f"It puts fewer places first: {new.coverage:.3f} of them instead of {old.coverage:.3f}.")
    if new.cost > _GREATEST_COST * old.cost:
        found.append(f"It costs too much: {new.cost} products a place instead of {old.cost}.")
    return found


def _reasons_of_order(order: tuple[tuple[float, float], tuple[float, float]]) -> list[str]:
    own, more = order
    if own[0] <= 0.5:
        # Where choices are noise, who says so loses least; it has learned nothing for all that.
        return [f"Its order is not better than chance for certain: an area between {own[0]:.4f} and {own[1]:.4f}."]
    if more[1] < 0:
        return [f"Its order is worse: the area changes by {more[0]:.4f} to {more[1]:.4f}."]
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

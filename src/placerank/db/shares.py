"""The versions' shares of the traffic, and the statements that change them. The sum is always 100 per cent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from placerank.errors import NotFound, ShareConflict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placerank.db.pool import Steps

#: The share of all travellers, in per cent.
WHOLE: Final = 100


def present_shares() -> Steps[dict[int, int]]:
    """Lock the registry for this transaction and return each version's share, the greatest first."""
    yield "lock_models", None
    return {row["id"]: row["use_percentage"] for row in (yield "shares", None)}


def set_share(model_id: int, share: int) -> Steps[None]:
    """Give a version ``share`` per cent of the travellers; raises what ``shares_after`` raises."""
    present = yield from present_shares()
    yield from write_shares(shares_after(present, model_id, share))


def write_shares(changes: Mapping[int, int]) -> Steps[None]:
    """Store these versions' shares, and change the version of the registry, which workers check for changes."""
    for model_id, share in changes.items():
        yield "set_share", {"id": model_id, "share": share}
    yield "bump_models", None


def shares_after(present: Mapping[int, int], model_id: int, share: int) -> dict[int, int]:
    """The shares that change if one is set; ``present`` has all, the greatest first. The sum stays 100.

    What the version loses goes to the version with the greatest share among the others. What it gains is taken from the
    others, the greatest share first. Raises ``NotFound``, or ``ShareConflict`` if no other version can take over.
    """
    if model_id not in present:
        raise NotFound(f"No model has the id {model_id}.")
    others: Sequence[int] = [other for other in present if other != model_id]
    if not others and share != WHOLE:
        raise ShareConflict("This is the only version: there is no other to serve the rest.")
    changed = {model_id: share}
    left = WHOLE - share
    kept = sum(present[other] for other in others)
    for other in others:
        if kept <= left:
            break
        given = min(present[other], kept - left)
        changed[other] = present[other] - given
        kept -= given
    if kept < left:
        changed[others[0]] = present[others[0]] + left - kept
    return changed

"""Compares what clients were told about inferences with what is stored. No I/O: ``tests/ledger.py`` reads the rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_FINISHED = {"SUCCESS", "FAILURE", "REVOKED"}
_RANKS = {"PENDING": 0, "STARTED": 1} | dict.fromkeys(_FINISHED, 2)


class What(StrEnum):
    """What a client did or was told."""

    ACCEPTED = "accepted"
    STATUS = "status"
    RESULT = "result"
    SELECTING = "selecting"
    SELECTED = "selected"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    REFUSED = "refused"


class Kind(StrEnum):
    """Kinds of violations; the values are the names of their counts."""

    LOST = "lost"
    TWICE = "applied_twice"
    WENT_BACK = "statuses_that_went_back"
    STATUS = "statuses_not_stored"
    RESULT_CHANGED = "results_that_changed"
    RESULT = "results_not_stored"
    SELECTION = "selections_not_stored"
    VERSION = "model_versions_not_stored"


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of a ledger. ``places`` are (location id, score), best first; ``whole`` unless a limit cut them."""

    client: str
    task_id: str
    what: What
    status: str = ""
    model_version: str | None = None
    places: tuple[tuple[int, float], ...] = ()
    whole: bool = True
    location_id: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """An inference in PostgreSQL, with its events (kind, location id) in their order."""

    status: str
    ended: bool
    attempts: int
    model_version: str | None
    choice: int | None
    places: tuple[tuple[int, float], ...]
    whole: bool
    events: tuple[tuple[str, int | None], ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Stored:
        """From a row of the ledger's query."""
        location_ids, scores = row["location_ids"], row["scores"]
        return cls(
            status=row["status"],
            ended=row["ended"],
            attempts=row["attempts"],
            model_version=row["model_version"],
            choice=row["choice"],
            places=tuple(zip(location_ids, scores, strict=False)),
            whole={len(location_ids)} == {len(scores), *row["lengths"]},
            events=tuple((kind, location_id) for kind, location_id in row["events"]),
        )

    @property
    def finished(self) -> bool:
        return self.ended and self.status in _FINISHED

    @property
    def selections(self) -> list[int | None]:
        """The selections in the event log."""
        return [location_id for kind, location_id in self.events if kind == "selected"]

    def count(self, kind: str) -> int:
        """How many events of this kind there are."""
        return sum(kind == found for found, _ in self.events)


@dataclass(frozen=True, slots=True)
class Rules:
    """By default each accepted inference has to be finished, and to have succeeded unless a client cancelled it."""

    may_be_unfinished: bool = False
    may_fail: bool = False
    #: Rows may be missing, because travellers were erased.
    may_be_gone: bool = False
    #: How many places each stored answer has; any number if none.
    places: int | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """A violation, with a sentence about an inference."""

    kind: Kind
    task_id: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.kind}: inference {self.task_id} {self.sentence}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The violations, and counts of accepted inferences."""

    accepted: int
    finished: int
    #: Results that were computed although their inference had ended already.
    unused: int
    most_attempts: int
    violations: tuple[Violation, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many inferences were accepted, are finished, and have a violation of each kind."""
        of_kind = Counter(kind for kind, _ in {(found.kind, found.task_id) for found in self.violations})
        return {"accepted": self.accepted, "finished": self.finished} | {kind.value: of_kind[kind] for kind in Kind}

    def demand_none(self) -> Verdict:
        """Itself; raises ``AssertionError`` with the counts and the first violations if there are any."""
        first = "\n".join(str(found) for found in self.violations[:10])
        assert not self.violations, f"{len(self.violations)} violations, {self.counts}:\n{first}"
        return self


_Found: TypeAlias = "Iterator[tuple[Kind, str]]"


def verify(
    told: Sequence[Told], stored: Mapping[str, Stored], rules: Rules, finishes: Mapping[str, int] | None = None
) -> Verdict:
    """Compare a record with what is stored; ``finishes`` says how often each inference was finished, if counted."""
    by_task: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        if one.task_id:
            by_task[one.task_id].append(one)
    violations = [
        Violation(kind, task_id, sentence)
        for task_id, entries in by_task.items()
        for kind, sentence in _violations(
            entries, stored.get(task_id), rules, None if finishes is None else finishes.get(task_id, 0)
        )
    ]
    accepted = [stored.get(task_id) for task_id, entries in by_task.items() if _accepted(entries)]
    return Verdict(
        accepted=len(accepted),
        finished=sum(row is not None and row.finished for row in accepted),
        unused=sum(row.count("result_unused") for row in stored.values()),
        most_attempts=max((row.attempts for row in stored.values()), default=0),
        violations=tuple(violations),
    )


def _violations(told: Sequence[Told], row: Stored | None, rules: Rules, finishes: int | None) -> _Found:
    yield from _went_back(told)
    yield from _changed_results(told)
    if row is None:
        if not rules.may_be_gone and any(_answers(one) for one in told):
            yield Kind.LOST, "was told to a client and is not stored"
        return
    if _accepted(told):
        yield from _lost(told, row, rules)
    yield from _twice(row)
    yield from _finished_once(row, finishes)
    yield from _status(told, row)
    yield from _result(told, row, rules)
    yield from _selections(told, row)
    yield from _model_version(told, row)


def _accepted(told: Iterable[Told]) -> bool:
    return any(one.what is What.ACCEPTED for one in told)


def _answers(one: Told) -> bool:
    """Whether this entry says that the inference exists."""
    return one.what not in {What.SELECTING, What.CANCELLING, What.REFUSED}


def _by_client(told: Iterable[Told]) -> dict[str, list[Told]]:
    found: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        found[one.client].append(one)
    return found


def _went_back(told: Sequence[Told]) -> _Found:
    """Only the order within a client is known. Two different finished statuses are wrong in any order."""
    for client, entries in _by_client(told).items():
        for one, other in pairwise(entry.status for entry in entries if entry.status):
            if _RANKS[other] < _RANKS[one]:
                yield Kind.WENT_BACK, f"was {one} and then {other} for client {client}"
    ends = sorted({one.status for one in told} & _FINISHED)
    if len(ends) > 1:
        yield Kind.WENT_BACK, f"was told as {' and as '.join(ends)}"


def _changed_results(told: Sequence[Told]) -> _Found:
    read = [one for one in told if one.what is What.RESULT]
    longest = max((one.places for one in read), key=len, default=())
    for one in read:
        if one.places != (longest if one.whole else longest[: len(one.places)]):
            yield Kind.RESULT_CHANGED, f"was read as {_shown(longest)} and as {_shown(one.places)}"


def _lost(told: Sequence[Told], row: Stored, rules: Rules) -> _Found:
    if not row.finished and not rules.may_be_unfinished:
        yield Kind.LOST, f"was accepted and has not finished: it is {row.status}"
    cancelled = row.status == "REVOKED" and any(one.what is What.CANCELLING or _revoked(one) for one in told)
    if row.finished and row.status != "SUCCESS" and not cancelled and not rules.may_fail:
        yield Kind.LOST, f"was accepted and ended as {row.status}"
    if not rules.may_be_gone and any(one.reason.startswith("404") for one in told):
        yield Kind.LOST, "was accepted, and a client was told that it does not exist"
    if not row.count("started"):
        yield Kind.LOST, "has no event 'started'"


def _revoked(one: Told) -> bool:
    return one.what is What.CANCELLED and one.status == "REVOKED"


def _twice(row: Stored) -> _Found:
    for kind in ("started", "cancelled"):
        if row.count(kind) > 1:
            yield Kind.TWICE, f"has {row.count(kind)} events '{kind}'"
    if row.count("cancelled") and row.status != "REVOKED":
        yield Kind.TWICE, f"was cancelled and ended as {row.status} too"
    for one, other in pairwise(row.selections):
        if one == other:
            yield Kind.TWICE, f"has the selection of place {one} twice in a row in the event log"
    shown = [location_id for location_id, _ in row.places]
    if len(set(shown)) < len(shown):
        yield Kind.TWICE, f"shows a place twice: {shown}"


def _finished_once(row: Stored, finishes: int | None) -> _Found:
    if finishes is None:
        return
    if finishes > 1:
        yield Kind.TWICE, f"was finished {finishes} times"
    if row.finished and not finishes:
        yield Kind.LOST, "is stored as finished, but no statement finished it"


def _status(told: Sequence[Told], row: Stored) -> _Found:
    for status in sorted({one.status for one in told} & _FINISHED - {row.status}):
        yield Kind.STATUS, f"was told as {status} and is stored as {row.status}"
    if row.status in _FINISHED and not row.ended:
        yield Kind.STATUS, f"is stored as {row.status} without the time of its end"
    if any(_revoked(one) for one in told) and not row.count("cancelled"):
        yield Kind.STATUS, "has an acknowledged cancel and no event 'cancelled'"


def _result(told: Sequence[Told], row: Stored, rules: Rules) -> _Found:
    if row.status == "SUCCESS":
        if not row.whole or not row.places:
            yield Kind.RESULT, "succeeded, and its stored answer is not whole"
        if rules.places is not None and len(row.places) != rules.places:
            yield Kind.RESULT, f"has a stored answer of {len(row.places)} places instead of {rules.places}"
    for places, whole in {(one.places, one.whole) for one in told if one.what is What.RESULT}:
        if places != (row.places if whole else row.places[: len(places)]):
            yield Kind.RESULT, f"was read as {_shown(places)} and is stored as {_shown(row.places)}"


def _selections(told: Sequence[Told], row: Stored) -> _Found:
    """Selections of one client are stored in its order; those of several clients in any order."""
    acknowledged, doubtful = _acknowledged(told), _doubtful(told)
    last = {places[-1] for places in acknowledged.values()}
    if last and row.choice not in last | doubtful:
        yield Kind.SELECTION, f"has the stored selection {row.choice}; the last acknowledged one is {last}"
    if row.choice != (row.selections[-1] if row.selections else None):
        yield Kind.SELECTION, f"has the stored selection {row.choice}; the event log has {row.selections}"
    for client, places in acknowledged.items():
        if not _within(places, row.selections):
            yield Kind.SELECTION, f"has the event log {row.selections}; client {client} was acknowledged {places}"
    # A client that repeats its choice changes nothing, unless another client has chosen in between.
    alone = len(acknowledged) == 1
    most = len(*acknowledged.values()) if alone else sum(one.what is What.SELECTED for one in told)
    if not doubtful and len(row.selections) > most:
        yield Kind.SELECTION, f"has the event log {row.selections}; clients were acknowledged {most} selections"
    if made_up := set(row.selections) - {place for places in acknowledged.values() for place in places} - doubtful:
        yield Kind.SELECTION, f"has selections in the event log that no client made: {made_up}"


def _acknowledged(told: Iterable[Told]) -> dict[str, list[int | None]]:
    """Acknowledged selections by client, in order. Repetitions are left out: they change nothing."""
    selected = _by_client(one for one in told if one.what is What.SELECTED)
    return {
        client: [place for place, _ in groupby(one.location_id for one in entries)]
        for client, entries in selected.items()
    }


def _doubtful(told: Iterable[Told]) -> set[int | None]:
    """Selections without a reply or with a 5xx: they may be stored, even later than the next selection."""
    sent: Counter[tuple[str, int | None]] = Counter()
    for one in told:
        if one.location_id is not None:
            key = (one.client, one.location_id)
            sent[key] = sent[key] + 1 if one.what is What.SELECTING else max(0, sent[key] - 1)
    return {location_id for (_, location_id), count in sent.items() if count}


def _model_version(told: Iterable[Told], row: Stored) -> _Found:
    for version in sorted({one.model_version for one in told if one.model_version} - {row.model_version}):
        yield Kind.VERSION, f"was told with model version {version} and is stored with {row.model_version}"


def _within(wanted: Sequence[int | None], log: Iterable[int | None]) -> bool:
    """Whether the log has all of these in this order, perhaps with others between."""
    rest = iter(log)
    return all(place in rest for place in wanted)


def _shown(places: Sequence[tuple[int, float]]) -> str:
    return f"{len(places)} places {dict(places)}"

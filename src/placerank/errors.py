"""Errors as clients see them: each has a stable code, an HTTP status and a sentence."""

from __future__ import annotations

from typing import ClassVar


class PlacerankError(Exception):
    """An error whose message is meant for people."""


class ConfigurationError(PlacerankError):
    """A setting is wrong; the message names its variable."""


class RequestError(PlacerankError):
    """A request that cannot be served; becomes an RFC 9457 problem."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    retry_after_s: ClassVar[int | None] = None


class MalformedBody(RequestError):
    """The body is not JSON."""

    status = 400
    code = "malformed_json"
    title = "The body is not JSON"


class BodyTooLarge(RequestError):
    """The body is larger than this route takes."""

    status = 413
    code = "body_too_large"
    title = "The body is too large"


class Unauthorized(RequestError):
    """The key is missing or unknown."""

    status = 401
    code = "unauthorized"
    title = "A valid key is needed"


class Forbidden(RequestError):
    """The key is known, but not valid for this route."""

    status = 403
    code = "forbidden"
    title = "This key is not valid for this route"


class NotFound(RequestError):
    """Nothing is stored under this id."""

    status = 404
    code = "not_found"
    title = "Not found"


class Unprocessable(RequestError):
    """The request is well formed, but cannot be processed."""

    status = 422
    code = "unprocessable"
    title = "The request cannot be processed"


class PlaceNotShown(Unprocessable):
    """The chosen place was not among those shown."""

    code = "place_not_shown"
    title = "This place was not shown"


class IdempotencyKeyReused(Unprocessable):
    """The same key came with another body."""

    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another request"


class NotFinished(RequestError):
    """The task has no result yet."""

    status = 409
    code = "not_finished"
    title = "The task has not finished"
    retry_after_s = 1


class TaskEnded(RequestError):
    """The task ended without a result: it failed or was cancelled."""

    status = 409
    code = "task_ended"
    title = "The task ended without a result"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]


class ShareConflict(RequestError):
    """After this change the shares of all versions could not add up to 100."""

    status = 409
    code = "share_conflict"
    title = "The shares do not add up to 100"


class ServiceUnavailable(RequestError):
    """A service that the request needs is unreachable, or cannot take the request now."""

    status = 503
    code = "unavailable"
    title = "Temporarily unavailable"
    retry_after_s = 1


class DatabaseUnavailable(ServiceUnavailable):
    """PostgreSQL does not answer."""

    code = "database_unavailable"
    title = "The database does not answer"


class NotMigrated(DatabaseUnavailable):
    """PostgreSQL has no tables yet."""

    code = "not_migrated"
    title = "The database has not been migrated"


class Overloaded(ServiceUnavailable):
    """Too much work is waiting already."""

    code = "overloaded"
    title = "Too much work is waiting"


class NoPlaces(ServiceUnavailable):
    """The catalogue is empty."""

    code = "no_places"
    title = "The catalogue has no places"
    retry_after_s = 30

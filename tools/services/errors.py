"""Errors of services."""


class ServiceUnavailable(RuntimeError):
    """A service is not available and cannot be started; the message says what is missing and what to do."""

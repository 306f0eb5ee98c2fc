"""What goes wrong with services."""


class ServiceUnavailable(RuntimeError):
    """A service is neither at hand nor to be started; the message says what is missing and what to do."""

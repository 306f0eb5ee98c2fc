"""What goes wrong with services."""


class ServiceUnavailable(RuntimeError):  # noqa: N818 - a state of the service, named as HTTP names it
    """A service is neither at hand nor to be started; the message says what is missing and what to do."""

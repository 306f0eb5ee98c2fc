"""Normalises the common spellings of service addresses."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

#: libpq and redis-py accept passwords in the query string too.
_PASSWORDS: Final = re.compile(r"((?:^|&)(?:ssl|ssl_|ssl_key)?password=)[^&]*", re.IGNORECASE)
_AUTHORITY_END: Final = re.compile("[/?#]")
#: Parameters that a sentence may name. Another name may be the rest of a password that is not quoted.
_NAMED: Final = re.compile(r"(ssl|sslmode|ssl_?[a-z_]+|(ca|cert|key)file|capath|cadata|no_verify_ssl|require_auth)")
_VERIFY: Final = {"none", "optional", "required", "CERT_NONE", "CERT_OPTIONAL", "CERT_REQUIRED"}


def postgresql(url: str) -> str:
    """A libpq URL: ``postgres://`` and SQLAlchemy's ``postgresql+driver://`` become ``postgresql://``.

    As in libpq, it may name several hosts: ``host:port,host:port``.
    """
    scheme, rest = _scheme(url)
    if scheme.split("+", 1)[0] not in {"postgres", "postgresql"}:
        raise ValueError(f"it must begin with postgresql://, not {scheme}://")
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    for host in authority.rpartition("@")[2].split(","):
        _check(f"postgresql://{host}")
    _check_query(rest.partition("?")[2])
    return f"postgresql://{rest}"


def amqp(url: str) -> str:
    """An AMQP URL with the virtual host quoted: no path, ``/`` and ``//`` all mean the virtual host ``/``."""
    scheme, rest = _scheme(url)
    secure = {"amqps": "amqps", "pyamqps": "amqps"}
    if scheme == "memory":
        return "memory://"
    if scheme not in {"amqp", "pyamqp", "librabbitmq", *secure}:
        raise ValueError(f"it must begin with amqp://, amqps:// or pyamqp://, not {scheme}://")
    parts = _check(f"{secure.get(scheme, 'amqp')}://{rest}")
    _check_query(parts.query)
    vhost = unquote(parts.path[1:]) or "/"
    return urlunsplit((parts.scheme, parts.netloc, "/" + quote(vhost, safe=""), parts.query, ""))


def redis(url: str) -> str:
    """A Redis URL: ``redis://``, ``rediss://`` or ``unix://``."""
    scheme, rest = _scheme(url)
    if scheme not in {"redis", "rediss", "unix", "memory"}:
        raise ValueError(f"it must begin with redis:// or rediss://, not {scheme}://")
    _check_query(urlsplit(f"{scheme}://{rest}").query)
    if scheme in {"redis", "rediss"}:
        path = _check(url).path.strip("/")
        if path and not path.isdecimal():
            raise ValueError(f"its database must be a number, not {path!r}")
    return f"{scheme}://{rest}"


class CredentialsTwice(ValueError):
    """The address already contains a user or a password."""


def with_credentials(url: str, user: str, password: str) -> str:
    """The address with ``user`` and ``password``, percent-encoded; raises ``CredentialsTwice``."""
    scheme, rest = url.split("://", 1)
    if "@" in _AUTHORITY_END.split(rest, maxsplit=1)[0]:
        raise CredentialsTwice
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def without_credentials(url: str) -> str:
    """The address without its user and password."""
    scheme, rest = url.split("://", 1)
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    return f"{scheme}://{authority.rpartition('@')[2]}{rest[len(authority) :]}"


def credentials(url: str) -> tuple[str, str]:
    """User and password of an address, decoded; empty where it has none."""
    parts = urlsplit(url)
    return unquote(parts.username or ""), unquote(parts.password or "")


def hide_password(url: str) -> str:
    """The address without its password, for people and logs."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    netloc, query = parts.netloc, _PASSWORDS.sub(r"\1***", parts.query)
    if parts.password is not None:
        user, _, host = netloc.rpartition("@")
        netloc = f"{user.split(':', 1)[0]}:***@{host}"
    if (netloc, query) == (parts.netloc, parts.query):
        return url
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def _scheme(url: str) -> tuple[str, str]:
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        raise ValueError("it is not an address such as scheme://user:password@host:port/name")
    return scheme.lower(), rest


def _check(url: str) -> SplitResult:
    parts = urlsplit(url)
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("its port is not a number from 0 to 65535") from None
    return parts


def _check_query(query: str) -> None:
    """Refuse a parameter without a value: most clients ignore it, and it may guard the connection."""
    for name, value in parse_qsl(query, keep_blank_values=True):
        shown = f"its parameter {name}" if _NAMED.fullmatch(name) else "a parameter of it"
        if not value.strip():
            raise ValueError(f"{shown} has no value; give it one or remove it")
        if name == "ssl_cert_reqs" and value not in _VERIFY:
            raise ValueError(f"{shown} must be one of none, optional and required")

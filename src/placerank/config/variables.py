"""The variables of the environment that begin with PLACERANK_: each is a setting, or a service link of Kubernetes.

Kubernetes tells each container the addresses of the services in its namespace, unless ``enableServiceLinks`` is false:
a service ``placerank-api`` becomes PLACERANK_API_SERVICE_HOST, PLACERANK_API_PORT and so on. Only variables that have
the name and the value of such a link are accepted, so that a misspelt setting is never taken for one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from placerank.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PREFIX: Final = "PLACERANK_"
_OURS: Final = re.compile(r"PLACERANK[_.-]", re.IGNORECASE)

#: The name of a service in upper case; it ends with a letter or a digit.
_SERVICE: Final = r"PLACERANK(?:_[A-Z0-9_]*[A-Z0-9])?"
_HOST: Final = re.compile(f"{_SERVICE}_SERVICE_HOST")
_NUMBER: Final = re.compile(f"{_SERVICE}_SERVICE_PORT(?:_[A-Z0-9_]+)?")
_ADDRESS: Final = re.compile(f"{_SERVICE}_PORT")
_PART: Final = re.compile(rf"{_SERVICE}_PORT_([0-9]+)_(TCP|UDP|SCTP)(?:_(PROTO|PORT|ADDR))?")
_URL: Final = re.compile(r"(tcp|udp|sctp)://(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]+)")


def refuse_unknown(environment: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Raise ``ConfigurationError`` for a variable that is no setting, or a setting that is given twice.

    ``known`` has each setting's variable by every name that it may be confused with, its own included.
    """
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    settings = set(known.values())
    for variable, value in environment.items():
        if variable.upper() in settings:
            spellings[variable.upper()].append(variable)
        elif _OURS.match(variable) and not is_service_link(variable, value):
            raise ConfigurationError(f"{variable} is not a setting of placerank.{_hint(variable.upper(), known)}")
    for given in spellings.values():
        if len(given) > 1:
            raise ConfigurationError(f"{' and '.join(sorted(given))} are the same setting: remove all but one.")


def is_service_link(variable: str, value: str) -> bool:
    """Whether Kubernetes sets such a variable to such a value for one of its services."""
    if _HOST.fullmatch(variable):
        return _is_ip(value)
    if _NUMBER.fullmatch(variable) and (_is_port(value) or _url(value)):
        return True
    if _ADDRESS.fullmatch(variable) and _url(value):
        return True
    part = _PART.fullmatch(variable)
    return part is not None and _is_part(part[1], part[2], part[3], value)


def _is_part(port: str, protocol: str, part: str | None, value: str) -> bool:
    if part == "PROTO":
        return value == protocol.lower()
    if part == "PORT":
        return value == port
    return _is_ip(value) if part == "ADDR" else _url(value) == (protocol.lower(), port)


def _url(value: str) -> tuple[str, str] | None:
    """Protocol and port of a service's address, such as tcp://10.0.0.7:8000."""
    found = _URL.fullmatch(value)
    if found is None or not _is_ip(found[2] or found[3]) or not _is_port(found[4]):
        return None
    return found[1], found[4]


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65535


def _hint(variable: str, known: Mapping[str, str]) -> str:
    meant = " or ".join(_meant(variable, known))
    return f" Did you mean {meant}?" if meant else " docs/reference/settings.md has every setting."


def _meant(variable: str, known: Mapping[str, str]) -> list[str]:
    """The settings that may be meant: without regard to separators, by the last part alone, or spelt alike."""
    rest = _plain(variable.removeprefix(PREFIX))
    same = [setting for name, setting in known.items() if _plain(name.removeprefix(PREFIX)) == rest]
    last = [setting for name, setting in known.items() if "__" in name and _plain(name.rpartition("__")[2]) == rest]
    return list(dict.fromkeys(same or last or _alike(variable, known)))


def _alike(variable: str, known: Mapping[str, str]) -> Collection[str]:
    close = get_close_matches(variable, known, n=1) or get_close_matches(variable, _groups(known), n=1)
    return [known.get(name, name) for name in close]


def _groups(known: Mapping[str, str]) -> set[str]:
    return {name.rsplit("__", 1)[0] + "__" for name in known if "__" in name}


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name)

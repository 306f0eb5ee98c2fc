"""What libpq would pass over in silence: a guard of the connection that is named and is not there.

With ``sslmode=require`` libpq checks the server's certificate only if it finds the file of ``sslrootcert``, and it
ignores a list of revoked certificates that it cannot read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: The parameters of an address that guard a connection, and libpq's own variables for them.
_VARIABLES: Final = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "require_auth": "PGREQUIREAUTH",
    "channel_binding": "PGCHANNELBINDING",
}
_FILES: Final = ("sslrootcert", "sslcrl", "sslcrldir")


def check(url: str, environment: Mapping[str, str]) -> None:
    """Raise ``ValueError``, with a sentence, for a guard of this ``postgresql://`` address that would guard nothing.

    A socket on this machine has no TLS, so nothing is checked for it.
    """
    authority, _, query = url.split("://", 1)[1].partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if not _over_a_network(authority, given):
        return
    found = {name: environment[variable] for name, variable in _VARIABLES.items() if variable in environment} | given
    names = {name: name if name in given else variable for name, variable in _VARIABLES.items()}
    for name in filter(found.__contains__, _VARIABLES):
        if not found[name].strip():
            raise ValueError(f"{names[name]} is set, but blank; give it a value or remove it")
    if found.get("sslmode", "prefer") not in MODES:
        raise ValueError(f"{names['sslmode']} must be one of {', '.join(MODES)}")
    if found.get("sslmode") != "disable":
        _check_files({names[name]: found[name] for name in _FILES if name in found})


def _check_files(files: Mapping[str, str]) -> None:
    for name, file in files.items():
        if file != "system" and not Path(file).exists():
            raise ValueError(f"{name} is {file}, which does not exist; without it nothing would be checked")


def _over_a_network(authority: str, given: Mapping[str, str]) -> bool:
    named = given.get("hostaddr") or given.get("host") or authority.partition("/")[0].rpartition("@")[2]
    return any(host.strip() and not unquote(host).startswith(("/", "@")) for host in named.split(","))

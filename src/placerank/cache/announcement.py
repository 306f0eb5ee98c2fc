"""The messages on the channel of finished tasks: the tasks' ids and, if they are small, their records.

A record in the announcement saves the API a round trip to Redis, which a single traveller would wait for. Every API
receives every announcement, so records are included only while all copies together stay small.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANNEL: Final = "placerank:answers"

#: Upper bound of the bytes of one announcement's records, summed over all listeners.
_MOST_CARRIED: Final = 32_768
#: A frame begins with the task's id and the length of the record that follows; 0 means that it is not included.
_HEAD: Final = struct.Struct(">16sI")


def encode(records: Mapping[UUID, bytes], listeners: int) -> bytes:
    """The announcement of these records; it includes them if they are small enough for so many listeners."""
    carried = listeners * sum(map(len, records.values())) <= _MOST_CARRIED
    return b"".join(
        _HEAD.pack(task_id.bytes, len(record)) + record if carried else _HEAD.pack(task_id.bytes, 0)
        for task_id, record in records.items()
    )


def decode(data: bytes) -> dict[UUID, bytes]:
    """Ids and records of an announcement, b"" for a record not included; raises ValueError for malformed data."""
    records: dict[UUID, bytes] = {}
    at = 0
    while at < len(data):
        begin = at + _HEAD.size
        if begin > len(data):
            raise ValueError("an announcement ends in the middle of a frame")
        task_id, length = _HEAD.unpack_from(data, at)
        at = begin + length
        records[UUID(bytes=task_id)] = data[begin:at]
    if at > len(data):
        raise ValueError("an announcement ends in the middle of a record")
    return records

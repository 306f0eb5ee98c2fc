"""What workers say on the channel of finished tasks: the ids and, where that is cheap, the records themselves.

A record that comes along spares the API a trip to Redis, which a lone traveller would wait for. Every API hears every
announcement, so the records travel only as long as all copies together stay small.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANNEL: Final = "placerank:answers"

#: Bytes that all listeners together are sent of one announcement's records, at most.
_MOST_CARRIED: Final = 32_768
#: A frame begins with the id and the length of the record that follows; 0 for one that stayed behind.
_HEAD: Final = struct.Struct(">16sI")


def encode(records: Mapping[UUID, bytes], listeners: int) -> bytes:
    """The announcement of these records to so many listeners."""
    carried = listeners * sum(map(len, records.values())) <= _MOST_CARRIED
    return b"".join(
        _HEAD.pack(task_id.bytes, len(record)) + record if carried else _HEAD.pack(task_id.bytes, 0)
        for task_id, record in records.items()
    )


def decode(data: bytes) -> dict[UUID, bytes]:
    """Ids and records of an announcement, empty where the record stayed behind; raises ValueError for anything else."""
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

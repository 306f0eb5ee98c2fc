from __future__ import annotations

import asyncio

from placerank.network.gathering import Gathering


class Recorder(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append(bytes(data))

    def write_eof(self) -> None:
        self.calls.append("eof")

    def close(self) -> None:
        self.calls.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.calls


async def test_what_one_turn_of_the_loop_writes_is_written_at_once() -> None:
    recorder = Recorder()
    transport = Gathering(recorder, asyncio.get_running_loop().call_soon)
    transport.write(b"head ")
    transport.write(b"body")
    await asyncio.sleep(0)
    transport.write(b"next")
    await asyncio.sleep(0)
    assert recorder.calls == [b"head body", b"next"]


async def test_an_end_loses_nothing_that_was_written() -> None:
    recorder = Recorder()
    transport = Gathering(recorder, asyncio.get_running_loop().call_soon)
    transport.write(b"last words")
    transport.write_eof()
    transport.write(b"ps")
    transport.close()
    await asyncio.sleep(0)
    assert recorder.calls == [b"last words", "eof", b"ps", "closed"]
    assert transport.is_closing()


async def test_nothing_is_written_to_who_has_gone_meanwhile() -> None:
    recorder = Recorder()
    transport = Gathering(recorder, asyncio.get_running_loop().call_soon)
    transport.write(b"too late")
    recorder.close()
    await asyncio.sleep(0)
    assert recorder.calls == ["closed"]

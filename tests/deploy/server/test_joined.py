"""Writes to a connection, joined."""

import asyncio

from hftool.deploy.server.joined import Joined


class FakeTransport:
    """Remembers what it was told."""

    def __init__(self):
        self.told = []

    def write(self, data):
        self.told.append(data)

    def close(self):
        self.told.append("close")

    def abort(self):
        self.told.append("abort")

    def get_write_buffer_size(self):
        return 100

    def is_closing(self):
        return "close" in self.told


def within_a_loop(scene):
    async def run():
        transport = FakeTransport()
        await scene(Joined(transport, asyncio.get_running_loop()), transport)

    asyncio.run(run())


def test_what_is_written_in_one_turn_goes_out_at_once_at_its_end():
    async def scene(joined, transport):
        joined.write(b"a")
        joined.write(b"b")
        assert transport.told == [] and joined.get_write_buffer_size() == 102
        await asyncio.sleep(0)
        assert transport.told == [b"ab"] and joined.get_write_buffer_size() == 100
        joined.write(b"c")
        await asyncio.sleep(0)
        assert transport.told == [b"ab", b"c"]

    within_a_loop(scene)


def test_nothing_is_lost_when_it_closes_and_nothing_sent_when_it_aborts():
    async def scene(joined, transport):
        joined.write(b"a")
        assert not joined.is_closing()
        joined.close()
        assert joined.is_closing()
        await asyncio.sleep(0)
        assert transport.told == [b"a", "close"]
        joined.write(b"b")
        joined.abort()
        await asyncio.sleep(0)
        assert transport.told == [b"a", "close", "abort"]

    within_a_loop(scene)

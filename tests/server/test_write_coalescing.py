"""Writes to a connection, joined."""

import asyncio

from hftool.server.http.write_coalescing import MAX_BUFFERED, CoalescingTransport


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
        await scene(CoalescingTransport(transport, asyncio.get_running_loop()), transport)

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
        joined.write(b"b")  # held back, it would be written when the system has taken the connection away
        assert transport.told == [b"a", "close", b"b"]

    within_a_loop(scene)

    async def abort(joined, transport):
        joined.write(b"a")
        joined.abort()
        await asyncio.sleep(0)
        assert transport.told == ["abort"] and joined.get_write_buffer_size() == 100

    within_a_loop(abort)


def test_much_is_not_held_back():
    async def scene(joined, transport):
        joined.write(b"a" * MAX_BUFFERED)
        assert transport.told == []
        joined.write(b"b")
        assert list(map(len, transport.told)) == [MAX_BUFFERED + 1] and joined.get_write_buffer_size() == 100
        joined.write(b"c")
        await asyncio.sleep(0)
        assert transport.told[1:] == [b"c"]

    within_a_loop(scene)

"""Coalescing of writes to a connection."""

import asyncio

from hftool.server.http.write_coalescing import MAX_BUFFERED, CoalescingTransport


class FakeTransport:
    """A transport that records its calls."""

    def __init__(self):
        self.calls = []

    def write(self, data):
        self.calls.append(data)

    def close(self):
        self.calls.append("close")

    def abort(self):
        self.calls.append("abort")

    def get_write_buffer_size(self):
        return 100

    def is_closing(self):
        return "close" in self.calls


def within_a_loop(scene):
    async def run():
        transport = FakeTransport()
        await scene(CoalescingTransport(transport, asyncio.get_running_loop()), transport)

    asyncio.run(run())


def test_writes_of_one_loop_iteration_are_sent_together():
    async def scene(joined, transport):
        joined.write(b"a")
        joined.write(b"b")
        assert transport.calls == [] and joined.get_write_buffer_size() == 102
        await asyncio.sleep(0)
        assert transport.calls == [b"ab"] and joined.get_write_buffer_size() == 100
        joined.write(b"c")
        await asyncio.sleep(0)
        assert transport.calls == [b"ab", b"c"]

    within_a_loop(scene)


def test_close_flushes_and_abort_discards():
    async def scene(joined, transport):
        joined.write(b"a")
        assert not joined.is_closing()
        joined.close()
        assert joined.is_closing()
        await asyncio.sleep(0)
        assert transport.calls == [b"a", "close"]
        joined.write(b"b")  # held back, it would be written when the system has taken the connection away
        assert transport.calls == [b"a", "close", b"b"]

    within_a_loop(scene)

    async def abort(joined, transport):
        joined.write(b"a")
        joined.abort()
        await asyncio.sleep(0)
        assert transport.calls == ["abort"] and joined.get_write_buffer_size() == 100

    within_a_loop(abort)


def test_large_writes_are_not_delayed():
    async def scene(joined, transport):
        joined.write(b"a" * MAX_BUFFERED)
        assert transport.calls == []
        joined.write(b"b")
        assert list(map(len, transport.calls)) == [MAX_BUFFERED + 1] and joined.get_write_buffer_size() == 100
        joined.write(b"c")
        await asyncio.sleep(0)
        assert transport.calls[1:] == [b"c"]

    within_a_loop(scene)

"""Work in a thread that ends with it."""

import threading

import pytest

from hftool.engines.apart import apart


def test_what_was_made_comes_back_and_the_thread_has_ended():
    threads = []

    def work():
        threads.append(threading.current_thread())
        return "made"

    assert apart(work) == "made"
    assert threads[0] is not threading.current_thread()
    assert not threads[0].is_alive()


def test_what_was_raised_is_raised():
    def work():
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        apart(work)
    with pytest.raises(SystemExit):
        apart(lambda: exit(3))

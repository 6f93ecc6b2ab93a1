"""Work in a thread that ends with it."""

import threading

import pytest

from hftool.engines.apart import run_in_thread


def test_what_was_made_comes_back_and_the_thread_has_ended():
    threads = []

    def work():
        threads.append(threading.current_thread())
        return "made"

    assert run_in_thread(work) == "made"
    assert threads[0] is not threading.current_thread()
    assert not threads[0].is_alive()


def test_what_was_raised_is_raised():
    def work():
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        run_in_thread(work)
    with pytest.raises(SystemExit):
        run_in_thread(lambda: exit(3))

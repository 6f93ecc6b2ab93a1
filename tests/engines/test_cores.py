"""hftool/engines/cores.py: parts of a batch on one core each."""

import threading

import pytest
import torch

from hftool.engines.cores import run_on_cores


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_tasks_run_at_the_same_time_on_one_core_each_in_order(three_threads):
    meeting = threading.Barrier(3, timeout=60)

    def facts(number):
        meeting.wait()
        return number, torch.get_num_threads(), torch.is_inference_mode_enabled()

    assert run_on_cores([lambda number=number: facts(number) for number in range(3)]) == [(n, 1, True) for n in range(3)]


def test_threads_of_the_caller_and_later_threads_keep_their_number(three_threads):
    run_on_cores([lambda: None])
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [3] and torch.get_num_threads() == 3


def test_errors_reach_the_caller_and_the_threads_go_on(three_threads):
    def fail():
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        run_on_cores([fail, lambda: 1])
    assert run_on_cores([lambda: 1, lambda: 2]) == [1, 2]

"""Line coverage of the suite: `pytest -p support.line_coverage`, as `make unit` calls it, in one process or in those of xdist.

slipcover puts a probe on each line of hftool when a module is imported. coverage.py traces each line of every library as well,
which on Python 3.11 takes 1.6 times as long (test_adapters.py: 34 s of processor time, 25 s with slipcover, 22 s without).
"""

import io
import json
import sys

import pytest
import slipcover

SOURCES = ["hftool", "recipes"]
MINIMUM = 95.0  # percent
NEVER = 2**31 - 1  # a probe that is taken out again means a search through all functions
WHOLE = pytest.StashKey[dict]()  # the coverage of all processes
workers = []  # the coverage of each worker

assert "hftool" not in sys.modules, "hftool was imported before its lines could be watched"
lines = slipcover.Slipcover(d_miss_threshold=NEVER)
slipcover.ImportManager(lines, slipcover.FileMatcher(sources=SOURCES)).__enter__()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Collect the coverage of a worker; one that crashed sends none."""
    if text := getattr(node, "workeroutput", {}).get("line_coverage"):
        workers.append(json.loads(text))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    """A worker sends its coverage; the main process adds all up and fails the session if it is too low."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["line_coverage"] = json.dumps(lines.get_coverage())
        return
    lines.source = SOURCES  # so that files that no test imported count
    whole = lines.get_coverage()
    for one in workers:
        slipcover.merge_coverage(whole, one)
    session.config.stash[WHOLE] = whole
    if whole["summary"]["percent_covered"] < MINIMUM and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    """A table of the files with lines that no test runs, and the share of all lines."""
    whole, table = config.stash[WHOLE], io.StringIO()
    slipcover.print_coverage(whole, outfile=table, skip_covered=True, missing_width=60)
    percent = whole["summary"]["percent_covered"]
    terminalreporter.write(table.getvalue())
    enough = percent >= MINIMUM
    words = f"coverage {percent:.2f} % of lines, at least {MINIMUM:g} % required"
    terminalreporter.write_line(words, green=enough, red=not enough)

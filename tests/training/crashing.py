"""A run of training as a process of its own that ends itself at the k-th operation on the disk: `python crashing.py K -- WORDS`.

K 0 ends nothing and prints how many operations there were.
"""

import os
import sys

from hftool import disk
from hftool.cli.app import main


def run(at, words):
    """The command line with these words, killed before its `at`-th operation -> its exit code."""
    done = 0

    def count(operation, path):
        nonlocal done
        done += 1
        if done == at:
            os._exit(9)  # no handler, no flush, no atexit: as SIGKILL

    disk.watch = count
    code = main(words)
    print(f"operations {done}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), sys.argv[3:]))

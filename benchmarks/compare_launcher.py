"""Runs `python -m hftool ...` many times without paying for the import of torch each time; see compare_versions.py.

A process that has imported the libraries, but nothing of hftool, reads one JSON document a line from the file descriptor in
its first argument, forks, and lets the child run the command line in the folder given, with files for stdin, stdout and stderr.
The exit code and the seconds come back on the descriptor in the second argument.
"""

import contextlib
import importlib
import json
import os
import runpy
import signal
import sys
import time
import traceback

LIBRARIES = (
    *("numpy", "torch", "transformers", "tokenizers", "safetensors.torch", "sklearn.metrics", "pyarrow", "accelerate"),
    *("transformers.models.bert.modeling_bert", "transformers.models.roberta.modeling_roberta"),
    *("transformers.models.gpt2.modeling_gpt2", "transformers.models.t5.modeling_t5", "transformers.models.auto"),
    *("onnx", "onnxruntime", "datasets", "pydantic"),
)


def run_child(job):
    """The child: hftool's command line as `python -m hftool` runs it. Does not return."""
    os.setsid()
    os.chdir(job["folder"])
    for number, path, flags in (
        (0, job["stdin"], os.O_RDONLY),
        (1, job["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, job["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        handle = os.open(path, flags, 0o644)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.update(job["environment"])
    sys.path[0] = job["folder"]
    sys.argv = ["hftool", *job["arguments"]]
    code = 1
    try:
        runpy.run_module("hftool", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def wait_for(child, seconds):
    """The exit code of the child, negative for a signal; it is killed after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            end = float("inf")
        time.sleep(0.01)


def main():
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    jobs, answers = (int(word) for word in sys.argv[1:3])
    with open(jobs, encoding="utf-8") as lines, open(answers, "w", encoding="utf-8") as out:
        print(json.dumps({"ready": True}), file=out, flush=True)
        for line in lines:
            job = json.loads(line)
            started = time.monotonic()
            child = os.fork()
            if child == 0:
                run_child(job)
            code = wait_for(child, job["timeout"])
            print(json.dumps({"code": code, "seconds": round(time.monotonic() - started, 3)}), file=out, flush=True)


if __name__ == "__main__":
    main()

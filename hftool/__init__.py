"""hftool: one command, or one import, from a checkpoint to a running model.

Importing this package costs nothing: the heavy libraries are imported by the functions that need them.
The words are those of the command line: see `hftool.workflow`, or `from recipes import bert`.
"""

DISTRIBUTION = "hftool-recipes"  # the name `hftool` on the package index belongs to somebody else


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version(DISTRIBUTION)
    raise AttributeError(f"module 'hftool' has no attribute {name!r}")

"""The command line as `python -m hftool`."""

from hftool.cli.app import entry

if __name__ == "__main__":
    entry()

"""uvicorn's private parts that the server builds on: the version they were tested with, and that each is there.

GuardedProtocol (http/slow_clients.py) overrides methods of H11Protocol and reads its state; Process (server/process.py) reads
that of uvicorn.Server. None of it is public, so that any release of uvicorn may rename it.
"""

import ast
import tomllib
from pathlib import Path

import pytest
import uvicorn
from packaging.requirements import Requirement
from packaging.version import Version
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from hftool.server.http import slow_clients

ROOT = Path(__file__).parents[2]
TESTED = "0.54"  # raise it and the bound in pyproject.toml together, after tests/server has passed (also the slow ones)
OVERRIDDEN = {
    "connection_made",
    "data_received",
    "connection_lost",
    "pause_writing",
    "resume_writing",
    "on_response_complete",
    "timeout_keep_alive_handler",
    "send_400_response",
}
READ = {"conn", "cycle", "loop", "transport"}
READ_OF_CYCLE = {"disconnected", "message_event", "response_complete"}
READ_OF_SERVER = {"capture_signals", "serve", "server_state", "should_exit", "started", "config"}


def attributes(kind):
    """The names that a class or the constructor of its instances has."""
    return {*dir(kind), *kind.__init__.__code__.co_names}


def missing(protocol=H11Protocol, cycle=RequestResponseCycle, server=uvicorn.Server):
    """What there is no more of what the server uses, as CLASS.ATTRIBUTE."""
    parts = {
        protocol: OVERRIDDEN | READ,
        cycle: READ_OF_CYCLE,
        server: READ_OF_SERVER,
        ServerState: {"tasks"},
        uvicorn.Config: {"timeout_graceful_shutdown"},
    }
    return sorted(f"{kind.__name__}.{name}" for kind, used in parts.items() for name in used - attributes(kind))


def sentence(names):
    return (
        f"uvicorn {uvicorn.__version__} has no {', '.join(names)}, which hftool/server uses (tested with {TESTED}): "
        f"adapt http/slow_clients.py and process.py, or keep the upper bound in pyproject.toml"
    )


def test_the_private_attributes_of_uvicorn_that_the_server_uses_are_there():
    assert not missing(), sentence(missing())


def test_the_check_bites():
    kept = {name: value for name, value in vars(H11Protocol).items() if name not in ("send_400_response", "pause_writing")}
    renamed = type("Renamed", (), {name: value for name, value in kept.items() if name not in ("__dict__", "__weakref__")})
    assert missing(protocol=renamed) == ["Renamed.pause_writing", "Renamed.send_400_response"]
    with pytest.raises(AssertionError, match=r"uvicorn \S+ has no Renamed.pause_writing, .*, which hftool/server uses"):
        assert not missing(protocol=renamed), sentence(missing(protocol=renamed))


def test_only_the_version_that_was_tested_and_older_ones_are_installed():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["serve"]
    allowed = next(one for one in map(Requirement, extra) if one.name == "uvicorn").specifier
    major, minor = Version(TESTED).release[:2]
    assert Version(uvicorn.__version__).release[:2] <= (major, minor), f"uvicorn {uvicorn.__version__} is newer than {TESTED}"
    assert allowed.contains(f"{TESTED}.9") and not allowed.contains(f"{major}.{minor + 1}"), (
        f"{allowed} does not end with {TESTED}"
    )


def test_the_lists_name_all_that_the_protocol_uses():
    tree = ast.parse(Path(slow_clients.__file__).read_text(encoding="utf-8"))
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "GuardedProtocol")
    methods = {node.name for node in cls.body if isinstance(node, ast.FunctionDef)}
    used = {ast.unparse(node) for node in ast.walk(cls) if isinstance(node, ast.Attribute)}
    read = {name.removeprefix("self.") for name in used if name.startswith("self.") and name.count(".") == 1}
    assert methods & set(dir(H11Protocol)) == OVERRIDDEN
    assert read - methods - set(vars(slow_clients.GuardedProtocol)) == READ
    assert {name.removeprefix("self.cycle.") for name in used if name.count(".") == 2 and ".cycle." in name} == READ_OF_CYCLE

"""A small Hugging Face Hub on loopback: what huggingface_hub 2.4 asks for, and the ways in which a network fails.

    with fake_hub({("model", "owner/name"): {"main": {"config.json": b"{}"}}}) as hub:
        subprocess.run([...], env=os.environ | hub.environment(home))

`hub.token` is the one token that may write; a repository that was made by a push is in `hub.repos`, and in `hub.private` if it
is private. Files go up whole within the commit ("regular"): no LFS, no Xet.

A branch's revision is made from its files, so changing `hub.repos` moves the branch. A key of 40 hexadecimal digits is
a commit of that name.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Files = Mapping[str, bytes]
Repos = dict[tuple[str, str], dict[str, Files]]

API = re.compile(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?")
UPLOAD = re.compile(r"/api/(model|dataset)s/([^/]+/[^/]+)/(preupload|commit)/([^/]+)")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Request:
    """What was asked, with the headers `Range` and `Authorization`."""

    method: str
    path: str
    range: str
    token: str


@dataclass
class Fault:
    """What happens to requests whose path contains `where`. `times` None means always."""

    where: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    after: int = -1
    silent: bool = False
    reset: bool = False
    times: int | None = None


class FakeHub:
    """The server, its repositories, and what it was asked."""

    def __init__(self, repos: Repos) -> None:
        self.repos = repos
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.token = "hf_writer"
        self.private: set[tuple[str, str]] = set()
        self.commits: list[str] = []  # the summaries
        self.xet = False  # offer large files by hf_xet as well; nothing stands behind the offer
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """The variables that lead a process here and nowhere else."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def revision(self, kind: str, repo: str, name: str = "main") -> str:
        """The commit that a branch or tag names now."""
        found = self.find(kind, repo, name)
        assert found is not None
        return found[0]

    def find(self, kind: str, repo: str, name: str) -> tuple[str, Files] | None:
        """Commit and files of a branch, a tag or a commit."""
        for known, files in self.repos.get((kind, repo), {}).items():
            text = "".join(f"{path} {hashlib.sha1(body).hexdigest()} " for path, body in sorted(files.items()))
            commit = known if COMMIT.fullmatch(known) else hashlib.sha1(text.encode()).hexdigest()
            if name in (known, commit):
                return commit, files
        return None

    def answer(
        self,
        status: int,
        where: str = "/",
        *,
        body: bytes | None = None,
        times: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with this status (and body) where the path contains `where`."""
        self.faults.append(Fault(where, status, headers or {}, body, times=times))

    def break_off(self, file: str, after: int, *, times: int | None = 1, reset: bool = False) -> None:
        """Close (or reset) the connection after this many bytes of a file."""
        self.faults.append(Fault(f"/{file}", after=after, times=times, reset=reset))

    def stall(self, file: str, after: int) -> None:
        """Send this many bytes of a file, and then nothing more, with the connection open."""
        self.faults.append(Fault(f"/{file}", after=after, silent=True))

    def fall_silent(self, where: str = "/") -> None:
        """Accept, and never answer."""
        self.faults.append(Fault(where, silent=True))

    def heal(self) -> None:
        """No more faults; forget what was asked."""
        self.faults.clear()
        self.requests.clear()

    def requested(self, part: str, method: str = "GET") -> list[Request]:
        """The requests whose path contains `part`."""
        return [request for request in self.requests if request.method == method and part in request.path]

    def close(self) -> None:
        """Refuse every connection from now on."""
        if not self.ended.is_set():
            self.ended.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


@contextmanager
def fake_hub(repos: Repos) -> Iterator[FakeHub]:
    """A Hub with these repositories: (kind, "owner/name") to branch, tag or commit to files."""
    hub = FakeHub(repos)
    try:
        yield hub
    finally:
        hub.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    hub: FakeHub

    def shutdown_request(self, request: Any) -> None:
        """Close at once: the farewell of the original would come before a reset."""
        self.close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body would wait 40 ms for its headers to be acknowledged
    server: _Server

    def do_POST(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def _serve(self) -> None:
        hub = self.server.hub
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append(
            Request(self.command, unquote(self.path), self.headers.get("Range", ""), self.headers.get("Authorization", ""))
        )
        fault = self._fault()
        if fault is not None and fault.silent and fault.after < 0:
            hub.ended.wait()
            self.close_connection = True
        elif fault is not None and fault.status:
            self._send(fault.status, fault.body or b"{}", fault.headers)
        else:
            self._route(urlsplit(self.path).path, fault)

    def _fault(self) -> Fault | None:
        for fault in self.server.hub.faults:
            wanted = fault.after < 0 or self.command == "GET"
            if wanted and fault.where in unquote(self.path) and fault.times != 0:
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None

    def _post(self, path: str) -> None:
        """What a push asks for: a repository, how each file is to come, and the commit."""
        hub = self.server.hub
        if path == "/api/validate-yaml":
            return self._send(200, b'{"errors": [], "warnings": []}')
        if self.headers.get("Authorization", "") != f"Bearer {hub.token}":
            return self._send(401, b"{}")
        if path == "/api/repos/create":
            request = json.loads(self.body)
            repo = (request.get("type", "model"), f"{request['organization']}/{request['name']}")
            if repo in hub.repos:
                return self._send(409, json.dumps({"url": f"{hub.url}/{repo[1]}"}).encode())
            hub.repos[repo] = {"main": {".gitattributes": b"*.safetensors filter=lfs\n"}}
            hub.private |= {repo} if request.get("visibility") == "private" or request.get("private") else set()
            return self._send(200, json.dumps({"url": f"{hub.url}/{repo[1]}"}).encode())
        match = UPLOAD.fullmatch(path)
        if match is None or (match[1], match[2]) not in hub.repos:
            return self._missing("RepoNotFound")
        if match[3] == "preupload":
            names = [file["path"] for file in json.loads(self.body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return self._send(200, json.dumps({"files": modes}).encode())
        rows = [json.loads(line) for line in self.body.splitlines()]
        new = {row["value"]["path"]: base64.b64decode(row["value"]["content"]) for row in rows if row["key"] == "file"}
        branches = hub.repos[match[1], match[2]]
        branches[match[4]] = {**branches[match[4]], **new}
        hub.commits.append(rows[0]["value"]["summary"])
        oid = hub.revision(match[1], match[2], match[4])
        url = f"{hub.url}/{match[2]}/commit/{oid}"
        return self._send(200, json.dumps({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}).encode())

    def _route(self, path: str, fault: Fault | None) -> None:
        if self.command == "POST":
            self._post(path)
        elif path == "/api/whoami-v2":
            known = self.headers.get("Authorization", "") == f"Bearer {self.server.hub.token}"
            self._send(200 if known else 401, b'{"name": "ann", "type": "user"}' if known else b"{}")
        elif match := API.fullmatch(path):
            kind, repo, what, name = match.groups()
            found = self.server.hub.find(kind, repo, unquote(name or "main"))
            if found is None:
                self._missing("RepoNotFound" if (kind, repo) not in self.server.hub.repos else "RevisionNotFound")
            else:
                self._send(200, _tree(found[1]) if what == "tree" else self._info(kind, repo, *found), fault=fault)
        elif match := FILE.fullmatch(path):
            found = self.server.hub.find("dataset" if match[1] else "model", match[2], unquote(match[3]))
            body = found[1].get(unquote(match[4])) if found else None
            if found is None or body is None:
                self._missing("EntryNotFound" if found else "RepoNotFound")
            else:
                self._send_file(found[0], unquote(match[4]), body, fault)
        elif path == "/api/agent-harnesses":
            self._send(200, b'{"standardEnvVars": [], "harnesses": {}}')
        else:
            self._send(404, b"{}")

    def _info(self, kind: str, repo: str, commit: str, files: Files) -> bytes:
        private = (kind, repo) in self.server.hub.private
        siblings = [{"rfilename": name} for name in sorted(files)]
        facts = {"id": repo, "_id": commit[:24], "sha": commit, "private": private, "tags": [], "siblings": siblings}
        return json.dumps(facts).encode()

    def _missing(self, code: str) -> None:
        """The Hub says 401 for a repository that it does not have: it may be private."""
        self._send(401 if code == "RepoNotFound" else 404, b"{}", {"X-Error-Code": code})

    def _send_file(self, commit: str, name: str, body: bytes, fault: Fault | None) -> None:
        headers = {"ETag": f'"{_etag(name, body)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if self.server.hub.xet and len(_etag(name, body)) == 64:
            headers |= {"X-Xet-Hash": _etag(name, body), "X-Xet-Refresh-Route": f"{self.server.hub.url}/api/xet-token"}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start is None:
            self._send(200, body, headers, fault)
        else:
            first = int(start[1])
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            self._send(206, body[first:], headers, fault)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None, fault: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is None or fault.after < 0:
            self.wfile.write(body)
            return
        self.wfile.write(body[: fault.after])
        if fault.silent:
            self.server.hub.ended.wait()
        if fault.reset:  # closing at once, without lingering, is what sends a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def _etag(name: str, body: bytes) -> str:
    """Large files have their SHA-256, the others what git calls them."""
    if name.endswith((".safetensors", ".parquet", ".bin")):
        return hashlib.sha256(body).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def _tree(files: Files) -> bytes:
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    rows: list[dict[str, object]] = [
        {"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)
    ]
    for name, body in sorted(files.items()):
        rows.append({"type": "file", "path": name, "size": len(body), "oid": _etag(name, body)})
    return json.dumps(rows).encode()

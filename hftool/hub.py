"""Downloads from and uploads to the Hugging Face Hub, with one request of at most three seconds to find a revision.

The libraries' own look-ups retry for 23 to 46 seconds without a network, so hftool gives them local folders only.
`HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN` and `HF_HUB_OFFLINE` work as in huggingface_hub.
"""

import contextlib
import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hftool.errors import BEARER, HubUnreachable, Refused, StorageError, UsageError, did_you_mean, listing
from hftool.storage.pickles import CONVERT, PICKLES
from hftool.storage.run_folder import whole_file

TIMEOUT = 3.0  # seconds until the response must start
SLOW = 20.0  # seconds until the response must be complete: some data sets have 100 000 file names
TRIES = 2  # for the same bytes of a file
CHUNK = 2**16  # bytes; an interrupted download keeps complete chunks
NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(@(?!.*\.\.)\w[\w./+-]*)?", re.ASCII)  # a branch becomes a path below `refs`
REVISION = re.compile(r"[0-9a-f]{40}")
TOKENIZERS = (
    *(("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt")),
    *(("spiece.model",), ("sentencepiece.bpe.model",)),
)
MODEL_ENDINGS = (".json", ".txt", ".model", ".jinja", "README.md", "SHA256SUMS")  # and safetensors in the top folder
DATA_ENDINGS = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".txt")
ACCESS = "Check the name; for a private one, or one with terms to accept on its page, type `hf auth login`"
LOGIN = "Type `hf auth login`, or set HF_TOKEN, with a token that may write"
KEPT = "Type the command again: the files that arrived whole are kept"
_PATCH_LOCK = threading.Lock()  # `_fail_fast` changes settings of huggingface_hub for the whole process


@dataclass(frozen=True)
class Pushed:
    """A commit on the Hub: the URL of its repository and its 40-digit revision."""

    url: str
    revision: str


@dataclass(frozen=True)
class Snapshot:
    """A repository in the cache: its folder, its 40-digit revision, and the SHA-256 of the files that were hashed, by name."""

    folder: Path
    revision: str
    hashes: Mapping[str, str] = field(default_factory=dict)


def cached(repo: str, revision: str = "", *, kind: str = "model", part: str = "") -> Snapshot | None:
    """The complete snapshot in the cache, or None; uses no network. `part` limits a data set to one of its folders."""
    if not NAME.fullmatch(f"{repo}@{revision or 'main'}"):
        return None
    storage = _storage(repo, kind)
    try:
        sha = revision if REVISION.fullmatch(revision) else (storage / "refs" / (revision or "main")).read_text("utf-8")
    except (OSError, ValueError):
        return None
    folder = storage / "snapshots" / sha
    return Snapshot(folder, sha) if REVISION.fullmatch(sha) and _is_complete(storage, folder, kind, part) else None


def _storage(repo: str, kind: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser().resolve() / "--".join((f"{kind}s", *repo.split("/")))


def _file_list(storage: Path, sha: str, part: str) -> Path:
    """The list of files that `fetch` wants; the download is complete when all of them exist."""
    return storage / ".hftool" / f"{sha}{'.' if part else ''}{quote(part, safe='')}.json"


def _is_complete(storage: Path, folder: Path, kind: str, part: str) -> bool:
    lists = [path for path in (_file_list(storage, folder.name, name) for name in (part, "")) if path.is_file()]
    if kind == "model" and not lists:
        return is_complete_model(folder)  # another tool fetched it
    try:
        return any(all((folder / str(n)).is_file() for n in json.loads(path.read_bytes())) for path in lists)
    except (OSError, ValueError, TypeError):  # a damaged list, which `fetch` rewrites
        return False


def is_complete_model(folder: Path) -> bool:
    """Whether config, tokenizer and all safetensors shards exist; pickles do not count."""
    index = folder / "model.safetensors.index.json"
    try:
        weights = json.loads(index.read_bytes())["weight_map"].values() if index.is_file() else ["model.safetensors"]
        choices = ({"config.json", *weights, *tokenizer} for tokenizer in TOKENIZERS)
        return any(all((folder / name).is_file() for name in names) for names in choices)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def address() -> str:
    """The URL of the Hub, without user and password."""
    from huggingface_hub import constants

    scheme, separator, host = constants.ENDPOINT.rpartition("://")
    return scheme + separator + host.rpartition("@")[2]


def _reason(error: Exception) -> str:
    """A network error in short, without secrets, which the libraries may quote."""
    text = BEARER.sub("Bearer ***", repr(error))
    secrets: set[str] = set()
    with contextlib.suppress(Exception):  # reading the URL or the token may be what failed
        from huggingface_hub import constants

        user = constants.ENDPOINT.rpartition("://")[2].rpartition("@")[0]
        secrets = {user, *re.split("[:/@]", user)}

        from huggingface_hub import get_token

        secrets.add(get_token() or "")
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***") if secret else text
    return text[:160]


def fetch(repo: str, revision: str = "", *, kind: str = "model", part: str = "") -> Snapshot:
    """Download a repository, or a folder `part` of a data set; complete files of an interrupted download are kept.

    Raises:
        HubUnreachable: No response, no such repository, or the download failed.
        Refused: The weights are only pickled.
        StorageError: The cache cannot be written.
        UsageError: Not a repository id or revision, or no such part of the data set.
    """
    sha, names = _repo_info(repo, revision, kind)
    wanted = _wanted(repo, names, kind, part)
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of httpx or of httpx2, by its version

    storage = _storage(repo, kind)
    try:
        _write(_file_list(storage, sha, part), json.dumps(wanted))
        _download(repo, sha, kind, wanted)
        if not REVISION.fullmatch(revision):  # last, so that the ref never leads to an incomplete snapshot
            _write(storage / "refs" / (revision or "main"), sha)
    except (HTTPError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:  # network errors have none
            raise StorageError(f"the cache cannot be written: {error}", "Make room, or set HF_HOME elsewhere") from None
        raise HubUnreachable(f"the download of {repo} broke off: {_reason(error)}", KEPT) from None
    return Snapshot(storage / "snapshots" / sha, sha)


def _wanted(repo: str, names: list[str], kind: str, part: str) -> list[str]:
    if kind == "model":
        weights = [name for name in names if name.endswith(".safetensors") and "/" not in name]
        pickles = [name for name in names if name.endswith(PICKLES)]
        if pickles and not weights:
            raise Refused(f"'{repo}' has its weights only as a pickle ('{pickles[0]}'), which can run code", CONVERT)
        return [name for name in names if is_read(name, kind) and name not in weights] + weights
    data = [name for name in names if name.endswith(DATA_ENDINGS)]
    wanted = [name for name in data if not part or name.startswith(f"{part}/")]
    if not wanted:
        parts = sorted({name.rpartition("/")[0] for name in data} - {""})
        hint = did_you_mean(part, parts, otherwise=f"It has {listing(parts) or 'none that hftool reads'}")
        raise UsageError(f"{repo} has no data files" + (f" in '{part}'" if part else ""), hint)
    return [name for name in names if name == "README.md"] + wanted


def is_read(name: str, kind: str) -> bool:
    """Whether hftool reads a file of this name in a repository of this kind."""
    if kind == "model":
        return name.endswith(MODEL_ENDINGS) or (name.endswith(".safetensors") and "/" not in name)
    return name.endswith(DATA_ENDINGS) or name == "README.md"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(text)


def _download(repo: str, sha: str, kind: str, wanted: list[str]) -> None:
    """Download files with few retries: huggingface_hub alone tries a dead network for minutes, and hf_xet for longer."""
    from huggingface_hub import constants, hf_hub_download

    tries: Counter[tuple[str, str, str]] = Counter()

    def _before(request: Any) -> None:
        key = request.method, str(request.url), request.headers.get("range", "")  # a resumed download has another range
        tries[key] += 1
        if tries[key] > (TRIES if request.method == "GET" else 1):
            raise HubUnreachable(f"the download of {repo} broke off: no more data arrives", KEPT)

    def _after(response: Any) -> None:
        if response.is_error:  # the library would wait and retry
            hint = ACCESS if response.status_code in (401, 403) else KEPT
            raise HubUnreachable(f"the download of {repo} broke off: HTTP {response.status_code}", hint)

    with _fail_fast(_after, _before):
        settings = constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE
        try:
            constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = True, CHUNK
            for name in wanted:  # one by one: Ctrl-C would have to wait for the files of a thread pool
                hf_hub_download(repo, name, repo_type=kind, revision=sha)
        finally:
            constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = settings


@contextlib.contextmanager
def _fail_fast(after: Callable[[Any], None], *before: Callable[[Any], None]) -> Iterator[None]:
    """Silence huggingface_hub, and add hooks for each response and request, which may raise instead of its retries."""
    from huggingface_hub import get_session
    from huggingface_hub.utils.tqdm import disable_progress_bars

    with _PATCH_LOCK, disable_progress_bars():
        client, logger = get_session(), logging.getLogger("huggingface_hub")
        hooks, level = client.event_hooks, logger.level
        try:
            client.event_hooks = {"request": [*hooks["request"], *before], "response": [*hooks["response"], after]}
            logger.setLevel(logging.ERROR)  # it logs each try
            yield
        finally:
            client.event_hooks = hooks
            logger.setLevel(level)


def ask_revision(repo: str, revision: str = "", *, kind: str = "model") -> str:
    """The 40-digit revision of a branch, tag or commit. Raises HubUnreachable, or UsageError (not a repository id)."""
    return _repo_info(repo, revision, kind)[0]


def _repo_info(repo: str, revision: str, kind: str) -> tuple[str, list[str]]:
    """The 40-digit revision and the names of all files, in one request without retries."""
    from huggingface_hub import constants

    what = f"{repo}@{revision}" if revision else repo
    if not NAME.fullmatch(what):
        raise UsageError(f"'{what}' is no repository id", "A Hub id is owner/name or owner/name@revision")
    if constants.HF_HUB_OFFLINE:
        raise HubUnreachable(f"{what} is not in the cache, and HF_HUB_OFFLINE is set", "Unset it, or use a folder")
    url = f"{constants.ENDPOINT}/api/{kind}s/{repo}" + (f"/revision/{quote(revision, safe='')}" if revision else "")
    try:
        status, body = _get(url)
    except Exception as error:  # of the network, a bad HF_ENDPOINT, or reading the token
        detail = f"{what} is not in the cache and {address()} does not answer ({_reason(error)})"
        raise HubUnreachable(detail, "Connect once to fetch it, or use a local folder") from None
    if status in (401, 403, 404):
        raise HubUnreachable(f"the Hub has no {what}, or it is private (HTTP {status})", ACCESS)
    if status != 200:
        raise HubUnreachable(f"the Hub answered HTTP {status} for {what}", "Try again later")
    try:
        info = json.loads(body)
        sha, names = str(info["sha"]), [str(row["rfilename"]) for row in info["siblings"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        sha, names = " ".join(body[:50].decode("utf-8", "replace").split()), []
    if not REVISION.fullmatch(sha) or (REVISION.fullmatch(revision) and sha != revision):
        raise HubUnreachable(f"the Hub named {sha[:50]!r} as the revision of {what}", "Check HF_ENDPOINT and network")
    return sha, names


def _get(url: str) -> tuple[int, bytes]:
    """Status and body of a response. The request runs in a thread, since name resolution has no timeout."""
    from huggingface_hub import constants, get_session, get_token

    status, body = Future[int](), Future[bytes]()

    def _request() -> None:
        try:  # not build_hf_headers, which sends another request, with another three seconds
            token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
            headers = {"authorization": f"Bearer {token}"} if token else {}
            with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
                status.set_result(response.status_code)
                body.set_result(response.read())
        except Exception as error:  # raised in the waiting thread
            (body if status.done() else status).set_exception(error)

    threading.Thread(target=_request, daemon=True).start()
    return status.result(TIMEOUT), body.result(SLOW)


def push(repo: str, files: Mapping[str, Path], *, public: bool, message: str) -> Pushed:
    """Upload files, by their names in the repository, in one commit; other files stay, and a missing repository is created.

    `public`: whether a new repository is public, and whether an existing one may be.

    Raises:
        UsageError: Not a repository id, or the repository is public without `public`.
        HubUnreachable: No response, or an error of the Hub.
        Refused: There is no token, or it may not write.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    check_repo(repo)
    if constants.HF_HUB_OFFLINE:
        raise HubUnreachable(f"nothing can be pushed to {repo}: HF_HUB_OFFLINE is set", "Unset it")
    token = get_token()
    if token is None:
        raise Refused("there is no token of the Hub on this machine", LOGIN)
    exists = _repo_exists(repo, public=public)
    api = HfApi(endpoint=constants.ENDPOINT, token=token)

    def _after(response: Any) -> None:
        if response.status_code == 429 or response.status_code >= 500:  # the library would retry for minutes
            raise HubUnreachable(f"pushing to {repo} broke off: HTTP {response.status_code}", "Type the command again later")

    try:
        with _fail_fast(_after):
            if not exists:
                api.create_repo(repo, private=not public, exist_ok=True)
            additions = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
            commit = api.create_commit(repo, additions, commit_message=message)
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise Refused(f"the Hub does not let this token write to {repo} (HTTP {status})", LOGIN) from None
        raise HubUnreachable(f"the Hub answered HTTP {status}: {_reason(error)}", "Try again later") from None
    except (HTTPError, OSError, ValueError, LookupError, TypeError) as error:  # the last two: a response not from a Hub
        raise HubUnreachable(f"pushing to {repo} broke off: {_reason(error)}", "Type the command again") from None
    if not REVISION.fullmatch(str(commit.oid)):
        raise HubUnreachable(f"the Hub named {str(commit.oid)[:50]!r} as the revision of {repo}", "Check HF_ENDPOINT")
    return Pushed(f"{address()}/{repo}", commit.oid)


def check_repo(repo: str) -> None:
    """Raise UsageError unless `repo` is owner/name."""
    if not NAME.fullmatch(repo) or "@" in repo:
        raise UsageError(f"'{repo}' is no repository id", "A repository id is owner/name")


def _repo_exists(repo: str, *, public: bool) -> bool:
    """Whether the repository exists. Raises HubUnreachable, Refused (an invalid token), UsageError (public, not allowed)."""
    from huggingface_hub import constants

    try:
        who, _ = _get(f"{constants.ENDPOINT}/api/whoami-v2")
        status, body = _get(f"{constants.ENDPOINT}/api/models/{repo}")
        private = json.loads(body)["private"] if status == 200 else True
    except Exception as error:  # of the network, a bad HF_ENDPOINT, or a response not from a Hub
        raise HubUnreachable(f"{address()} does not answer ({_reason(error)})", "Check HF_ENDPOINT and network") from None
    if who in (401, 403):
        raise Refused(f"the Hub does not know this token (HTTP {who})", LOGIN)
    if who != 200 or status not in (200, 401, 403, 404):
        raise HubUnreachable(f"the Hub answered HTTP {max(who, status)} for {repo}", "Try again later")
    if not private and not public:
        what = f"{repo} is there already and is public"
        raise UsageError(what, "If the model may be, add --public; else choose another name")
    return status == 200

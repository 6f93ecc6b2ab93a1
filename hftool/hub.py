"""The Hugging Face Hub: asked once, for at most three seconds, and only when something must be fetched or is pushed.

The libraries' own look-ups retry for 23 to 46 seconds without a network; so they only ever get local folders from us.
`HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean everywhere.
"""

import contextlib
import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hftool.errors import HubUnreachable, Refused, StorageError, UsageError, did_you_mean, listing
from hftool.safety import CONVERT, PICKLES
from hftool.storage.run_folder import whole_file

TIMEOUT = 3.0  # seconds until the one question must begin to be answered
SLOW = 20.0  # seconds until the answer must be there whole: some data sets have 100 000 file names
TRIES = 2  # for the same bytes of a file
CHUNK = 2**16  # bytes; of less than a chunk nothing is kept when the network breaks off
NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(@(?!.*\.\.)\w[\w./+-]*)?", re.ASCII)  # a branch becomes a path below `refs`
BEARER = re.compile(r"Bearer [^\s'\"]+")
REVISION = re.compile(r"[0-9a-f]{40}")
TOKENIZERS = (
    *(("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt")),
    *(("spiece.model",), ("sentencepiece.bpe.model",)),
)
MODEL_ENDINGS = (".json", ".txt", ".model", ".jinja", "README.md", "SHA256SUMS")  # and the safetensors beside config.json
DATA_ENDINGS = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".txt")
ACCESS = "Check the name; for a private one, or one with terms to accept on its page, type `hf auth login`"
LOGIN = "Type `hf auth login`, or set HF_TOKEN, with a token that may write"
KEPT = "Type the command again: the files that arrived whole are kept"
_ONE_AT_A_TIME = threading.Lock()  # `_download` changes huggingface_hub for the whole process


@dataclass(frozen=True)
class Pushed:
    """A commit on the Hub: the address of its repository and its 40-digit revision."""

    url: str
    revision: str


@dataclass(frozen=True)
class Snapshot:
    """A repository as it lies in the cache: its folder and its 40-digit revision."""

    folder: Path
    revision: str


def cached(repo: str, revision: str = "", *, kind: str = "model", part: str = "") -> Snapshot | None:
    """The complete snapshot in the cache, or None. Opens no socket. `part` limits a data set to one folder of it."""
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
    """Where `fetch` notes the files that it wants. When all of them are there, the download is complete."""
    return storage / ".hftool" / f"{sha}{'.' if part else ''}{quote(part, safe='')}.json"


def _is_complete(storage: Path, folder: Path, kind: str, part: str) -> bool:
    lists = [path for path in (_file_list(storage, folder.name, name) for name in (part, "")) if path.is_file()]
    if kind == "model" and not lists:
        return is_complete_model(folder)  # another tool fetched it
    try:
        return any(all((folder / str(n)).is_file() for n in json.loads(path.read_bytes())) for path in lists)
    except (OSError, ValueError, TypeError):  # a damaged list; `fetch` writes it anew
        return False


def is_complete_model(folder: Path) -> bool:
    """True if config, tokenizer and all shards are there. Pickles do not count: the Hub may have safetensors too."""
    index = folder / "model.safetensors.index.json"
    try:
        weights = json.loads(index.read_bytes())["weight_map"].values() if index.is_file() else ["model.safetensors"]
        choices = ({"config.json", *weights, *tokenizer} for tokenizer in TOKENIZERS)
        return any(all((folder / name).is_file() for name in names) for names in choices)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def address() -> str:
    """The address of the Hub as it may be shown and written down: without the user and the password that it may have."""
    from huggingface_hub import constants

    scheme, separator, host = constants.ENDPOINT.rpartition("://")
    return scheme + separator + host.rpartition("@")[2]


def _reason(error: Exception) -> str:
    """What an error of the network says, in short, without a secret: the libraries quote parts of what they were given."""
    text = BEARER.sub("Bearer ***", repr(error))
    secrets: set[str] = set()
    with contextlib.suppress(Exception):  # the error may be of whoever reads the address, or gives the token
        from huggingface_hub import constants

        user = constants.ENDPOINT.rpartition("://")[2].rpartition("@")[0]
        secrets = {user, *re.split("[:/@]", user)}

        from huggingface_hub import get_token

        secrets.add(get_token() or "")
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***") if secret else text
    return text[:160]


def fetch(repo: str, revision: str = "", *, kind: str = "model", part: str = "") -> Snapshot:
    """Download a repository at a revision and return its folder. Whole files of a broken-off download are kept.

    Raises HubUnreachable (no answer, no such repository, broken off), Refused (weights only as a pickle), StorageError
    (the cache cannot be written) or UsageError (no repository id or revision, no such part of a data set).
    """
    sha, names = _ask(repo, revision, kind)
    wanted = _wanted(repo, names, kind, part)
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of httpx or of httpx2, by its version

    storage = _storage(repo, kind)
    try:
        _note(_file_list(storage, sha, part), json.dumps(wanted))
        _download(repo, sha, kind, wanted)
        if not REVISION.fullmatch(revision):  # last: until then the name leads to what was complete before
            _note(storage / "refs" / (revision or "main"), sha)
    except (HTTPError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:  # errors of the network have none
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
    """Whether hftool would read a file of this name in a repository of this kind."""
    if kind == "model":
        return name.endswith(MODEL_ENDINGS) or (name.endswith(".safetensors") and "/" not in name)
    return name.endswith(DATA_ENDINGS) or name == "README.md"


def _note(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(text)


def _download(repo: str, sha: str, kind: str, wanted: list[str]) -> None:
    """huggingface_hub in a hurry and silent: alone it tries a dead network for minutes, and hf_xet for longer."""
    from huggingface_hub import constants, get_session, hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    tries: Counter[tuple[str, str, str]] = Counter()

    def before(request: Any) -> None:
        """Count the tries of a request."""
        key = request.method, str(request.url), request.headers.get("range", "")  # the range moves with what arrived
        tries[key] += 1
        if tries[key] > (TRIES if request.method == "GET" else 1):
            raise HubUnreachable(f"the download of {repo} broke off: nothing more comes", KEPT)

    def after(response: Any) -> None:
        """Make an answer that is an error ours, at once."""
        if response.is_error:  # the library would sleep as long as it is told to, and try again
            hint = ACCESS if response.status_code in (401, 403) else KEPT
            raise HubUnreachable(f"the download of {repo} broke off: HTTP {response.status_code}", hint)

    with _ONE_AT_A_TIME, disable_progress_bars():
        client, logger = get_session(), logging.getLogger("huggingface_hub")
        hooks, level = client.event_hooks, logger.level
        before_us = constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE
        try:
            client.event_hooks = {"request": [*hooks["request"], before], "response": [*hooks["response"], after]}
            constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = True, CHUNK
            logger.setLevel(logging.ERROR)  # it tells of each try on stderr
            for name in wanted:  # one by one: Ctrl-C would have to wait for the files of a thread pool
                hf_hub_download(repo, name, repo_type=kind, revision=sha)
        finally:
            constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = before_us
            client.event_hooks = hooks
            logger.setLevel(level)


def ask_revision(repo: str, revision: str = "", *, kind: str = "model") -> str:
    """The 40-digit revision of a branch, tag or commit. Raises HubUnreachable, or UsageError (no repository id)."""
    return _ask(repo, revision, kind)[0]


def _ask(repo: str, revision: str, kind: str) -> tuple[str, list[str]]:
    """The 40-digit revision and the names of all files: one question, no retry."""
    from huggingface_hub import constants

    what = f"{repo}@{revision}" if revision else repo
    if not NAME.fullmatch(what):
        raise UsageError(f"'{what}' is no repository id", "A Hub id is owner/name or owner/name@revision")
    if constants.HF_HUB_OFFLINE:
        raise HubUnreachable(f"{what} is not in the cache, and HF_HUB_OFFLINE is set", "Unset it, or use a folder")
    url = f"{constants.ENDPOINT}/api/{kind}s/{repo}" + (f"/revision/{quote(revision, safe='')}" if revision else "")
    try:
        status, body = _get(url)
    except Exception as error:  # of the network, of a bad HF_ENDPOINT, or of whoever gives the token: no answer
        trouble = f"{what} is not in the cache and {address()} does not answer ({_reason(error)})"
        raise HubUnreachable(trouble, "Connect once to fetch it, or use a local folder") from None
    if status in (401, 403, 404):
        raise HubUnreachable(f"the Hub has no {what}, or it is private (HTTP {status})", ACCESS)
    if status != 200:
        raise HubUnreachable(f"the Hub answered HTTP {status} for {what}", "Try again later")
    try:
        answer = json.loads(body)
        sha, names = str(answer["sha"]), [str(row["rfilename"]) for row in answer["siblings"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        sha, names = " ".join(body[:50].decode("utf-8", "replace").split()), []
    if not REVISION.fullmatch(sha) or (REVISION.fullmatch(revision) and sha != revision):
        raise HubUnreachable(f"the Hub named {sha[:50]!r} as the revision of {what}", "Check HF_ENDPOINT and network")
    return sha, names


def _get(url: str) -> tuple[int, bytes]:
    """Status and body of an answer. In a thread of its own: looking up a name obeys no timeout."""
    from huggingface_hub import constants, get_session, get_token

    status, body = Future[int](), Future[bytes]()

    def ask() -> None:
        """The question, in a thread that can be left behind."""
        try:  # not build_hf_headers: it asks the Hub a question of its own, for three seconds more
            token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
            headers = {"authorization": f"Bearer {token}"} if token else {}
            with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as answer:
                status.set_result(answer.status_code)
                body.set_result(answer.read())
        except Exception as error:  # it belongs to whoever waits
            (body if status.done() else status).set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return status.result(TIMEOUT), body.result(SLOW)


def push(repo: str, files: Mapping[str, Path], *, public: bool, message: str) -> Pushed:
    """Put files, by their names there, into a model repository in one commit; what else it holds stays.

    A repository that is not there is made, private unless `public`. One that is there and public is no place for what was to
    be private. Raises UsageError, HubUnreachable, Refused (no token, or one that may not).
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    check_repo(repo)
    if constants.HF_HUB_OFFLINE:
        raise HubUnreachable(f"nothing can be pushed to {repo}: HF_HUB_OFFLINE is set", "Unset it")
    token = get_token()
    if token is None:
        raise Refused("there is no token of the Hub on this machine", LOGIN)
    there = _is_there(repo, public=public)
    api = HfApi(endpoint=constants.ENDPOINT, token=token)
    try:
        with _at_once(repo):
            if not there:
                api.create_repo(repo, private=not public, exist_ok=True)
            additions = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
            made = api.create_commit(repo, additions, commit_message=message)
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise Refused(f"the Hub does not let this token write to {repo} (HTTP {status})", LOGIN) from None
        raise HubUnreachable(f"the Hub answered HTTP {status}: {_reason(error)}", "Try again later") from None
    except (HTTPError, OSError, ValueError, LookupError, TypeError) as error:  # the last two: an answer of somebody else
        raise HubUnreachable(f"pushing to {repo} broke off: {_reason(error)}", "Type the command again") from None
    if not REVISION.fullmatch(str(made.oid)):
        raise HubUnreachable(f"the Hub named {str(made.oid)[:50]!r} as the revision of {repo}", "Check HF_ENDPOINT")
    return Pushed(f"{address()}/{repo}", made.oid)


def check_repo(repo: str) -> None:
    """Raise UsageError unless `repo` is owner/name."""
    if not NAME.fullmatch(repo) or "@" in repo:
        raise UsageError(f"'{repo}' is no repository id", "Where it goes on the Hub is owner/name")


def _is_there(repo: str, *, public: bool) -> bool:
    """Whether the repository exists. Raises Refused (a token that is not valid), UsageError (public, and must not be)."""
    from huggingface_hub import constants

    try:
        who, _ = _get(f"{constants.ENDPOINT}/api/whoami-v2")
        status, body = _get(f"{constants.ENDPOINT}/api/models/{repo}")
        private = json.loads(body)["private"] if status == 200 else True
    except Exception as error:  # of the network, of a bad HF_ENDPOINT, or an answer of somebody else
        raise HubUnreachable(f"{address()} does not answer ({_reason(error)})", "Check HF_ENDPOINT and network") from None
    if who in (401, 403):
        raise Refused(f"the Hub does not know this token (HTTP {who})", LOGIN)
    if who != 200 or status not in (200, 401, 403, 404):
        raise HubUnreachable(f"the Hub answered HTTP {max(who, status)} for {repo}", "Try again later")
    if not private and not public:
        raise UsageError(
            f"{repo} is there already and is public", "If the model may be, add --public; else choose another name"
        )
    return status == 200


@contextlib.contextmanager
def _at_once(repo: str) -> Iterator[None]:
    """huggingface_hub silent, and without the minutes for which it tries again a Hub that is in trouble."""
    from huggingface_hub import get_session
    from huggingface_hub.utils.tqdm import disable_progress_bars

    def after(response: Any) -> None:
        """Make trouble of the Hub ours, at once."""
        if response.status_code == 429 or response.status_code >= 500:
            raise HubUnreachable(f"pushing to {repo} broke off: HTTP {response.status_code}", "Type the command again later")

    with _ONE_AT_A_TIME, disable_progress_bars():
        client, logger = get_session(), logging.getLogger("huggingface_hub")
        hooks, level = client.event_hooks, logger.level
        try:
            client.event_hooks = {**hooks, "response": [*hooks["response"], after]}
            logger.setLevel(logging.ERROR)
            yield
        finally:
            client.event_hooks = hooks
            logger.setLevel(level)

"""The command `hftool serve`."""

import functools
import json
import shlex
import sys
from typing import Annotated, Any

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import Device, Precision, Shared, argument, number, option, shared_options
from hftool.cli.progress import print_json

NAME = "serve"
Models = Annotated[list[str], argument("MODEL", "Names, Hub ids, model or run folders; NAME=MODEL says under which name.")]
Host = Annotated[
    str,
    option(
        "--host",
        "HOST",
        "The address to listen at. On 127.0.0.1 only requests to localhost or 127.0.0.1 are answered, so that no page of "
        "another site can send requests through your browser; any other address needs --api-key-file.",
    ),
]
Port = Annotated[int, number("--port", "0 takes any that is free.", least=0, most=65535)]
KeyFile = Annotated[
    str | None,
    option(
        "--api-key-file",
        "FILE",
        "One key a line. All routes but /livez, /readyz, /health and the page at / then need it: Authorization: Bearer KEY.",
        show_default=False,
    ),
]
AllowHost = Annotated[
    list[str] | None,
    option(
        "--allow-host",
        "NAME",
        "A name under which it is asked on 127.0.0.1, too, such as that of a proxy before it.",
        show_default=False,
    ),
]
Timeout = Annotated[float, option("--timeout", "SECONDS", "Until a request is given up (504).")]
Queue = Annotated[
    int,
    number("--queue", "Texts of a model that may wait or be computed; above it requests are refused at once (429).", least=1),
]
Grace = Annotated[float, option("--grace", "SECONDS", "In which requests may end after SIGTERM or Ctrl-C.")]


@shared_options("offline", "no_fallback")
def command(
    *,
    models: Models,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_key_file: KeyFile = None,
    allow_host: AllowHost = None,
    timeout: Timeout = 30.0,
    queue: Queue = 512,
    grace: Grace = 30.0,
    device: Device = "auto",
    precision: Precision = "auto",
    shared: Shared,
) -> None:
    """Answer over HTTP: any head, one model or several, with a page at / to try them.

    POST /predict and /models/NAME/predict take the JSON of Hugging Face's tasks, "inputs" and "parameters";
    /v1/completions and /v1/embeddings are OpenAI's. /info names the models and what they take, /openapi.json all routes,
    /metrics counts for Prometheus. A log of one JSON line a request goes to stderr, without texts and keys; --quiet
    leaves it out. --json prints the address, the models and a request to try when all models answer, and serves on.

    \b
    hftool serve runs/a
    hftool serve film=runs/a writer=gpt2 --port 9000
    """
    go_offline(shared.offline)
    from hftool import workflow
    from hftool.server.http.address import bind, check_open
    from hftool.server.http.log_writer import log_to_stderr

    # an address that cannot be had is reported at once: what follows imports for seconds
    check_open(host, has_keys=api_key_file is not None)
    bind(host, port).close()
    with log_to_stderr(quiet=shared.quiet), shared.screen() as progress:
        workflow.serve(
            models,
            host=host,
            port=port,
            key_file=api_key_file,
            allow_hosts=allow_host or (),
            limits={"timeout": timeout, "queue_items": queue, "grace": grace},
            device=device,
            precision=precision,
            **shared.access(progress),
            on_ready=functools.partial(_greet, has_keys=api_key_file is not None, as_json=shared.as_json),
        )


def _greet(address: Any, *, has_keys: bool, as_json: bool) -> None:
    """What a person, or a program that asks for JSON, needs to continue. Others read the line about it in the log."""
    request = _request(address, has_keys=has_keys)
    if as_json:
        print_json({"url": address.url, "models": address.models, "key_needed": has_keys, "try": request})
    if as_json or sys.stdout is None or not sys.stdout.isatty():
        return
    models = ", ".join(f"{name} ({head})" for name, head in address.models.items())
    typer.echo(f"{address.url}  {models}")
    typer.echo(request)
    typer.echo("Ctrl-C ends it")


def _request(address: Any, *, has_keys: bool) -> str:
    """A request to try, for a shell, which has the key as KEY where one is needed: the key itself is printed nowhere."""
    body = json.dumps({"inputs": address.example}, ensure_ascii=False)
    key = '-H "Authorization: Bearer $KEY" ' if has_keys else ""
    return f"curl -d {shlex.quote(body)} -H 'Content-Type: application/json' {key}{address.url}/predict"

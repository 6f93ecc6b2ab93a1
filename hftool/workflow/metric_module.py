"""Metrics of the `evaluate` library: one adapter from answers and labelled rows to any of its modules.

A module is code that runs in this process. A script that the user names by its path runs because the user asked for it; a name
on the Hub is refused unless the user names it a second time as trusted, and it is never fetched offline.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hftool.data.readers.tables import Rows
from hftool.errors import DataError, HubUnreachable, InputMissing, Refused, UsageError, as_line
from hftool.heads.protocol import Answers, Metrics
from hftool.registry.heads import report_module


def load_metric(metric: str, *, trusted: str | None, offline: bool) -> Any:
    """Load a module of `evaluate`.

    Args:
        metric: The path of a script or of its folder, or a name on the Hub.
        trusted: The name again, where it is one on the Hub.
        offline: Open no socket.

    Raises:
        Refused: A name on the Hub that is not `trusted`.
        HubUnreachable: Such a name while offline.
        DataError: The module cannot be loaded.
    """
    path = Path(metric).expanduser()
    is_local = path.exists()
    if not is_local and (path.suffix == ".py" or metric.startswith((".", "/", "~"))):
        raise InputMissing(f"there is no metric script '{metric}'")
    if not is_local and trusted != metric:
        hint = f"If you trust it: --trust-metric {metric}; or name a script of yours by its path"
        raise Refused(f"the metric '{metric}' is code on the Hub, which would run on this machine", hint)
    if not is_local and offline:
        raise HubUnreachable(f"the metric '{metric}' is on the Hub", "Offline, name a local script by its path")
    try:
        return importlib.import_module("evaluate").load(str(path) if is_local else metric)
    except (Exception, SystemExit) as error:  # code of others
        raise DataError(f"the metric '{metric}' cannot be loaded: {as_line(str(error))}") from error


def measure_with(
    module: Any, name: str, answers: Answers, rows: Rows, metrics: Metrics, labels: Sequence[str]
) -> dict[str, Any]:
    """The result of a module as JSON. Raises UsageError for a head without predictions, DataError when the module fails."""
    inputs_of = getattr(report_module(metrics.report), "predictions_and_references", None)
    if inputs_of is None:
        raise UsageError("a language model has no predictions to measure", "Leave --metric out")
    predictions, references = inputs_of(answers, rows, labels)
    try:
        result = module.compute(predictions=predictions, references=references)
    except (Exception, SystemExit) as error:  # code of others
        raise DataError(f"the metric '{name}' failed: {as_line(str(error))}", "See what inputs it takes") from error
    return {"name": name, **{key: _plain(value) for key, value in (result or {}).items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value

"""The standalone phase: record runs and serve a model from a script or a notebook, without a project."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from modelworks import config
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.ref import Ref
from modelworks.sdk.process import Server, start
from modelworks.track import run as recorder
from modelworks.track.autolog import AUTOLOG
from modelworks.track.autolog.imports import watch
from modelworks.track.autolog.port import Recorder
from modelworks.track.local import LocalSink
from modelworks.track.station import TrackStation

if TYPE_CHECKING:
    import polars as pl

    from modelworks.sdk.remote import RemoteSink

_sinks: dict[str, LocalSink | RemoteSink] = {}
_open: WeakSet[recorder.Run] = WeakSet()
_watched: dict[str, Callable[[], None]] = {}
_lock = threading.Lock()


def _folder() -> Path:
    """The project around the current folder, or the current folder made into one."""
    try:
        return config.find_root(Path())
    except NotFound:
        Path(config.STATE).mkdir(exist_ok=True)
        return Path().resolve()


def run(
    name: str | None = None,
    *,
    experiment: str | None = None,
    parent: str | recorder.Run | None = None,
    tags: Mapping[str, str] | None = None,
    resume: str | None = None,
    system: float | bool = False,
    server: str | None = None,
    token: str | None = None,
) -> recorder.Run:
    """Record a run, kept in the folder it runs in, or on a server.

    ::

        with mw.run("churn-baseline") as run:
            run.log_params(depth=6)
            run.log_metrics(auc=0.81)
            run.log_model(model, name="churn", example=X.head(100))

    It is kept in ``.modelworks`` of the project around the current folder, or of the folder itself. What a call
    has recorded when it returns survives the death of the process. A block that raises is recorded as failed; a
    run whose process dies is recorded as lost. Without ``with``, ``run.end()`` ends it. A run that begins inside
    another one's block is part of it.

    Args:
        name: Its name; many runs may share one.
        experiment: The group of runs that it belongs to.
        parent: The run that it is part of, where it does not begin inside its block.
        tags: Short texts by which it is found again.
        resume: Id of a run to go on with, instead of a name.
        system: Whether to record what processor and memory do: the seconds between two looks, or ``True`` for 10.
        server: URL of a server to keep it; ``MODELWORKS_SERVER`` by default. It is told in the background; while
            it does not answer, what was recorded waits in ``.modelworks`` of this folder.
        token: Token for it; ``MODELWORKS_TOKEN`` by default.

    Raises:
        Invalid: `name` cannot name a run.
        NotFound: there is no run to go on with.
    """
    sink = sink_of(server or os.environ.get("MODELWORKS_SERVER", ""), token)
    if resume is not None:
        begun = recorder.resume(sink, resume, system=system)
    elif name is None:
        raise Invalid("a run has no name", "", 'give one: mw.run("baseline")')
    else:
        begun = recorder.begin(sink, name, experiment=experiment, parent=parent, tags=tags, system=system)
    _open.add(begun)
    return begun


def runs(
    where: str = "",
    *,
    order_by: str = "",
    limit: int = 1000,
    server: str | None = None,
    token: str | None = None,
) -> pl.DataFrame:
    """Find runs: a Polars frame with a row a run and a column for each parameter, metric and tag.

    ::

        mw.runs("metrics.auc > 0.8 and params.depth = 6", order_by="metrics.auc desc")

    Args:
        where: A query; see the reference for the language. Empty for all.
        order_by: By what to order, the newest first by default.
        limit: Most runs to return.
        server: URL of a server to look at; ``MODELWORKS_SERVER`` by default, the current folder without it.
        token: Token for it; ``MODELWORKS_TOKEN`` by default.

    Raises:
        Invalid: the query cannot be read; the message points at the place.
    """
    from modelworks.track.frame import frame

    query = f"{where} order by {order_by}" if order_by else where
    sink = sink_of(server or os.environ.get("MODELWORKS_SERVER", ""), token)
    sink.settle()
    if isinstance(sink, LocalSink):
        return frame(TrackStation(sink.stores, sink.clock).find(query, limit))
    return frame(sink.client.call("runs", where=query, limit=limit))


def autolog(*libraries: str, models: bool = True, enable: bool = True) -> None:
    """Record trainings of scikit-learn, LightGBM, XGBoost and PyTorch by themselves.

    ::

        mw.autolog()
        LGBMClassifier().fit(X, y, eval_set=[(X_new, y_new)])

    A training goes into the run that is open, or into one of its own. Recorded are parameters, the metrics of
    every iteration, the score on the rows learned from, the model; of PyTorch the loss at every step. Libraries
    are not imported for it: those that a user imports later are seen as well.

    Args:
        libraries: Only these, ``"lightgbm"``; all by default.
        models: Whether models are kept as artifacts.
        enable: ``False`` leaves the libraries as they were before.

    Raises:
        NotFound: there is no such library here.
    """
    for name in libraries or AUTOLOG:
        if name in _watched:
            _watched.pop(name)()
        if enable:
            _watched[name] = watch(name, Recorder(run, models))


def serve(ref: str, port: int = 0) -> Server:
    """Serve a model version, one line: ``server = mw.serve("churn@latest")``.

    The version becomes the champion of its model, and a server answers ``POST {url}/predict/{model}`` in a
    process of its own until ``server.stop()`` or the end of the script.

    Raises:
        NotFound: there is no such version.
    """
    from modelworks.factory import Factory

    folder = _folder()
    with Factory(folder) as factory:
        factory.deploy(ref, "served by hand")
    server = start(folder, port=port)
    print(f"{server.url}/predict/{Ref.parse(ref).name}  (console {server.url}/)")
    return server


def sink_of(server: str = "", token: str | None = None) -> LocalSink | RemoteSink:
    """Where runs of the current folder, or of a server, are told of; one a process and place."""
    folder = _folder()
    key = f"{server.rstrip('/')} {folder}"
    with _lock:
        if key not in _sinks:
            if server:
                from modelworks.sdk.remote import RemoteSink  # most runs go to a folder

                given = token or os.environ.get("MODELWORKS_TOKEN") or None
                _sinks[key] = RemoteSink(server, given, folder / config.STATE)
            else:
                from modelworks.stores import open_stores

                loaded = config.load(folder)
                chosen = loaded.settings
                _sinks[key] = LocalSink(
                    open_stores(loaded.state, chosen.ledger_url, chosen.tables_url, chosen.artifacts_url)
                )
        return _sinks[key]


def close() -> None:
    """End the runs that are open, and bring all that was recorded to where it is kept; done at exit as well."""
    error = None if hasattr(sys, "ps1") or "IPython" in sys.modules else getattr(sys, "last_value", None)
    for one in list(_open):
        if error is None:
            one.end()
        else:
            one.end("failed", f"{type(error).__name__}: {error}")
    _open.clear()
    with _lock:
        closing = list(_sinks.values())
        _sinks.clear()
    for sink in closing:
        sink.close()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()
    _open.clear()
    for sink in _sinks.values():
        sink.forget()


os.register_at_fork(after_in_child=_forked)
atexit.register(close)

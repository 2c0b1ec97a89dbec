"""The standalone phase: record runs and serve a model from a script or a notebook, without a project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelworks.config import STATE, find_root
from modelworks.core.errors import NotFound
from modelworks.core.ref import Ref
from modelworks.factory import Factory
from modelworks.sdk.process import Server, start
from modelworks.train import run as recorder


def _folder() -> Path:
    """The project around the current folder, or the current folder made into one."""
    try:
        return find_root(Path())
    except NotFound:
        Path(STATE).mkdir(exist_ok=True)
        return Path().resolve()


@contextmanager
def run(name: str) -> Iterator[recorder.Run]:
    """Record a run, kept in the folder it runs in.

    ::

        with mw.run("churn-baseline") as run:
            run.log_params(depth=6)
            run.log_metrics(auc=0.81)
            run.log_model(model, name="churn", example=X.head(100))

    It is kept in ``.modelworks`` of the project around the current folder, or of the folder itself. A block
    that raises is recorded as failed.

    Raises:
        Invalid: `name` cannot name a run.
    """
    with Factory(_folder()) as factory:
        stores, registry = factory.stores, factory.stations.registry
        with recorder.run(name, stores, registry, factory.clock) as current:
            yield current


def serve(ref: str, port: int = 0) -> Server:
    """Serve a model version, one line: ``server = mw.serve("churn@latest")``.

    The version becomes the champion of its model, and a server answers ``POST {url}/predict/{model}`` in a
    process of its own until ``server.stop()`` or the end of the script.

    Raises:
        NotFound: there is no such version.
    """
    folder = _folder()
    with Factory(folder) as factory:
        factory.deploy(ref, "served by hand")
    server = start(folder, port=port)
    print(f"{server.url}/predict/{Ref.parse(ref).name}  (console {server.url}/)")
    return server

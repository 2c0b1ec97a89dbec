"""Executors: where work runs."""

from modelworks.core.catalog import Catalog
from modelworks.jobs.executors.port import Done, Executor

EXECUTORS: Catalog[type[Executor]] = Catalog(
    "executors",
    {
        "inline": "modelworks.jobs.executors.inline:Inline",
        "processes": "modelworks.jobs.executors.processes:Processes",
        "ray": "modelworks.jobs.executors.ray:Ray",
    },
)

__all__ = ["EXECUTORS", "Done", "Executor"]

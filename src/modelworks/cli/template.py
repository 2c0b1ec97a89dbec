"""The project that `init` makes: small, and working at once."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from modelworks.core.errors import Conflict

_FACTORY = '''"""A factory: what is learned from what, and the rules by which models come and go."""

import modelworks as mw

tumours = mw.Dataset(
    "tumours",
    source=mw.Files("data/*.csv"),
    key="sample",
    time="taken",
    contract={
        "sample": str,
        "taken": mw.Time(),
        "radius": mw.Number(min=0),
        "texture": mw.Number(min=0),
        "smoothness": mw.Number(min=0),
        "concavity": mw.Number(min=0),
        "symmetry": mw.Number(min=0),
        "malignant": mw.Number(min=0, max=1, integer=True),
    },
)


@mw.model(
    dataset=tumours,
    target="malignant",
    features=["radius", "texture", "smoothness", "concavity", "symmetry"],
    metrics=["log_loss", "roc_auc"],
    gate=[mw.AtLeast("roc_auc", 0.9), mw.BeatsChampion("log_loss")],
    retrain=[mw.OnRows(share=0.25), mw.OnDrift(), mw.OnDecay("log_loss", by=0.05)],
)
def diagnosis(X, y, params):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
'''

_SETTINGS = """# Settings, at their defaults. MODELWORKS_SERVER_PORT=8080 in the environment does the same.

[server]
# host = "127.0.0.1"
# port = 8000
# max_body = 16777216       # bytes of a request

[train]
# workers = 0               # processes that train; 0 for one a core

[serve]
# poll = 0.5                # seconds between two looks for new champions

[monitor]
# every = "1h"              # how often the worker observes, decides and retrains

[ledger]
# url = "postgresql+psycopg://user@host/database"    # SQLite in .modelworks by default
"""

_COLUMNS = {"radius": 0, "texture": 1, "smoothness": 4, "concavity": 6, "symmetry": 8}


def make(folder: Path) -> list[Path]:
    """Write the project; returns the files.

    Raises:
        Conflict: there is a project already.
    """
    if (folder / "factory.py").exists():
        raise Conflict(
            f"{folder / 'factory.py'} is there already", "nothing was changed", "choose another folder"
        )
    (folder / "data").mkdir(parents=True, exist_ok=True)
    written = {
        "factory.py": _FACTORY,
        "modelworks.toml": _SETTINGS,
        ".gitignore": ".modelworks/\n__pycache__/\n",
    }
    for name, text in written.items():
        if name != ".gitignore" or not (folder / name).exists():
            (folder / name).write_text(text)
    _tumours(folder / "data" / "tumours.csv")
    return [folder / name for name in (*written, "data/tumours.csv")]


def _tumours(path: Path) -> None:
    """569 real samples, as scikit-learn ships them (Wisconsin diagnostic data, Street and others, 1993).

    They carry no date; they are taken to come an hour apart, in the file's order.
    """
    source = files("sklearn.datasets.data").joinpath("breast_cancer.csv").read_text().splitlines()[1:]
    start = datetime(2024, 1, 1, tzinfo=UTC)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["sample", "taken", *_COLUMNS, "malignant"])
        for number, line in enumerate(source):
            values = line.split(",")
            moment = (start + timedelta(hours=number)).isoformat()
            out.writerow(
                [f"s{number:04d}", moment, *(values[c] for c in _COLUMNS.values()), 1 - int(values[-1])]
            )

"""The other products that `bench-serve` puts beside ours, each in an environment of its own (`make peers`).

Each gets one worker with one thread, the settings that its documentation gives for production, no log of requests,
and, where it has a choice that may help, both ways: the better one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".venv-peers"


@dataclass(frozen=True)
class Way:
    """One way to ask a server for a row's score.

    Attributes:
        name: A line of the table.
        server: Which server.
        path: Of the request.
        put: A row as the body, of names and values.
        score: The score in an answer; ``None`` where there is none.
        protocol: ``v2`` for the Open Inference Protocol.
    """

    name: str
    server: str
    path: str
    put: Callable[[Sequence[str], Sequence[float]], Any]
    score: Callable[[Any], float] | None
    protocol: str = ""


@dataclass(frozen=True)
class Peer:
    """A server of another product.

    Attributes:
        name: The product's, and of its lock and its script in `peers/`.
        ways: To ask it.
    """

    name: str
    ways: tuple[Way, ...]

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return ENVIRONMENTS / self.name / "bin" / "python"

    def command(self, model: Path, port: int, folder: Path) -> list[str | Path]:
        """What starts it on a port; it may take the nine above, too."""
        return [self.python, HERE / "peers" / f"{self.name}_server.py", model, str(port), folder]

    def missing(self) -> str:
        """Why it cannot be started; nothing if it can."""
        failed = ENVIRONMENTS / f"{self.name}.failed"
        if failed.exists():
            return f"not installed: {failed.read_text()[-300:].strip()}"
        return "" if self.python.exists() else "not installed: 'make peers' makes its environment"


def rows(_names: Sequence[str], values: Sequence[float]) -> Any:
    """A matrix of one row."""
    return {"rows": [values]}


def matrix(_names: Sequence[str], values: Sequence[float]) -> Any:
    """One tensor of the Open Inference Protocol."""
    shape = [1, len(values)]
    return {"inputs": [{"name": "input", "shape": shape, "datatype": "FP32", "data": values}]}


def _sklearn(names: Sequence[str], values: Sequence[float]) -> Any:
    return {**matrix(names, values), "outputs": [{"name": "predict_proba"}]}


def _first(answer: Any) -> float:
    return float(answer["predictions"][0])


PEERS = (
    Peer(
        "bentoml",
        (
            Way("BentoML", "bentoml", "/plain", rows, lambda answer: answer[0]),
            Way("BentoML, batching", "bentoml", "/batched", rows, lambda answer: answer[0]),
        ),
    ),
    Peer(
        "mlserver",
        tuple(
            Way(name, "mlserver", f"/v2/models/{model}/infer", _sklearn,
                lambda answer: answer["outputs"][0]["data"][1], "v2")
            for name, model in (("MLServer", "plain"), ("MLServer, batching", "batched"))
        ),
    ),
    Peer("litserve", (Way("LitServe", "litserve", "/predict", rows, _first),)),
    Peer(
        "kserve",
        (
            Way("KServe, V1", "kserve", "/v1/models/score:predict", lambda _, values: {"instances": [values]},
                _first),
            Way("KServe, V2", "kserve", "/v2/models/score/infer", matrix,
                lambda answer: answer["outputs"][0]["data"][0], "v2"),
        ),
    ),
    Peer(
        "ray",
        (
            Way("Ray Serve", "ray", "/plain", rows, _first),
            Way("Ray Serve, batching", "ray", "/batched", rows, _first),
        ),
    ),
    Peer(
        "mlflow",
        (
            Way("MLflow", "mlflow", "/invocations", lambda _, values: {"inputs": [values]},
                lambda answer: answer["predictions"][0][1]),
        ),
    ),
)  # fmt: skip

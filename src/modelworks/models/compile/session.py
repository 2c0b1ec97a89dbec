"""Answering with a compiled model: an ONNX Runtime session that costs one thread and little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from modelworks.core.batch import Batch

_OUTPUT = ["scores"]


def _options() -> Any:
    """A thousand sessions of the default kind start a thousand threads, and each keeps an arena."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # What the higher levels look for are layers of neural nets; they make a session a third dearer to open.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    return options


OPTIONS = _options()


class CompiledPredictor:
    """One compiled model version.

    Args:
        graph: The ONNX graph.

    Raises:
        Exception: ONNX Runtime's own, where it refuses the graph.
    """

    def __init__(self, graph: bytes) -> None:
        session = ort.InferenceSession(graph, OPTIONS, providers=["CPUExecutionProvider"])
        names = {entry.name for entry in session.get_inputs()}
        self._numbers = "numbers" in names
        self._texts = "texts" in names
        # The wrapper's own checks cost more than a small model.
        self._run = session._sess.run
        self._session = session

    def predict(self, batch: Batch) -> npt.NDArray[np.float32]:
        """See `Predictor.predict`."""
        feeds: dict[str, Any] = {}
        if self._numbers:
            feeds["numbers"] = batch.numbers
        if self._texts:
            feeds["texts"] = batch.texts
        scores: npt.NDArray[np.float32] = self._run(_OUTPUT, feeds, None)[0]
        return scores

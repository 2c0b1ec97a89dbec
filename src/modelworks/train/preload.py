"""Imported once by the workers' common ancestor, so that a worker has the heavy libraries when it is born."""

import gc
from contextlib import suppress
from importlib import import_module

_MODULES = [
    "numpy",
    "pandas",
    "pyarrow",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "onnxruntime",
    "skl2onnx",
    "modelworks.train.work",
    "modelworks.jobs.executors.worker",
]

for _name in _MODULES:
    with suppress(Exception):  # what a worker really needs, it imports again and says why it can't
        import_module(_name)

# What was made so far lives as long as the workers: collections need not look at it, which keeps its memory
# shared between them.
gc.collect()
gc.freeze()

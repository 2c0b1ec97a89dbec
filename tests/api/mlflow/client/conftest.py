"""An unmodified client of MLflow, pointed at a server of ours."""

from __future__ import annotations

import os
import sys
from uuid import uuid4

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_breast_cancer

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
URL = os.environ["MODELWORKS_URL"]


@pytest.fixture(autouse=True)
def ours():
    mlflow.set_tracking_uri(f"{URL}/mlflow")
    mlflow.set_registry_uri(f"{URL}/mlflow")
    yield
    while mlflow.active_run() is not None:
        mlflow.end_run()


@pytest.fixture
def client() -> MlflowClient:
    return MlflowClient()


@pytest.fixture
def name() -> str:
    """A name that nothing else has."""
    return f"n{uuid4().hex[:12]}"


@pytest.fixture
def experiment(name: str) -> str:
    """The id of an experiment of its own."""
    return mlflow.set_experiment(f"experiment {name}").experiment_id


@pytest.fixture(scope="session")
def data() -> tuple[pd.DataFrame, pd.Series]:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X = X.iloc[:, :5]
    X.columns = [column.replace(" ", "_") for column in X.columns]
    return X, y


def pytest_report_header() -> str:
    return f"mlflow {mlflow.__version__}, Python {sys.version.split()[0]}"

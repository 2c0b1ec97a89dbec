"""Artifacts, through the proxy."""

import json
import os

import mlflow
import numpy as np
import pytest
import requests
from mlflow.exceptions import MlflowException

URL = os.environ["MODELWORKS_URL"]


@pytest.fixture
def run(client, experiment):
    return client.create_run(experiment).info.run_id


def test_files_and_folders(client, run, tmp_path):
    (tmp_path / "top.txt").write_text("top")
    deep = tmp_path / "folder" / "deeper"
    deep.mkdir(parents=True)
    (deep / "ü ber.bin").write_bytes(bytes(range(256)))
    (tmp_path / "folder" / "empty").write_bytes(b"")
    client.log_artifact(run, tmp_path / "top.txt")
    client.log_artifact(run, tmp_path / "top.txt", "copies/one")
    client.log_artifacts(run, tmp_path / "folder", "folder")
    listed = {one.path: (one.is_dir, one.file_size) for one in client.list_artifacts(run)}
    assert listed == {"copies": (True, None), "folder": (True, None), "top.txt": (False, 3)}
    inner = {one.path: one.is_dir for one in client.list_artifacts(run, "folder")}
    assert inner == {"folder/deeper": True, "folder/empty": False}
    (file,) = client.list_artifacts(run, "folder/deeper")
    assert (file.path, file.file_size) == ("folder/deeper/ü ber.bin", 256)
    assert client.list_artifacts(run, "top.txt") == []
    assert client.list_artifacts(run, "nowhere") == []
    place = tmp_path / "down"
    place.mkdir()
    client.download_artifacts(run, "", str(place))
    assert (place / "folder" / "deeper" / "ü ber.bin").read_bytes() == bytes(range(256))
    assert (place / "folder" / "empty").read_bytes() == b""
    assert (place / "copies" / "one" / "top.txt").read_text() == "top"


def test_what_people_log(client, run):
    client.log_text(run, "hello", "notes/a.txt")
    client.log_dict(run, {"a": [1, 2]}, "config/a.json")
    client.log_dict(run, {"a": [1, 2]}, "config/a.yaml")
    client.log_image(run, np.zeros((4, 4, 3), dtype=np.uint8), "image.png")
    client.log_table(run, {"a": [1, 2], "b": ["x", "y"]}, "table.json")
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure = pyplot.figure()
    client.log_figure(run, figure, "figure.png")
    assert mlflow.artifacts.load_text(f"runs:/{run}/notes/a.txt") == "hello"
    assert mlflow.artifacts.load_dict(f"runs:/{run}/config/a.json") == {"a": [1, 2]}
    assert mlflow.artifacts.load_image(f"runs:/{run}/image.png").size == (4, 4)
    assert list(mlflow.load_table("table.json", run_ids=[run])["b"]) == ["x", "y"]
    names = {one.path for one in client.list_artifacts(run)}
    assert {"notes", "config", "image.png", "table.json", "figure.png"} <= names


def test_a_file_written_again_is_the_new_one(client, run):
    client.log_text(run, "one", "a.txt")
    client.log_text(run, "two", "a.txt")
    assert mlflow.artifacts.load_text(f"runs:/{run}/a.txt") == "two"


def test_a_large_file_comes_back_as_it_was(client, run, tmp_path):
    content = np.random.default_rng(7).bytes(40_000_000)  # more than a request of the API may have
    (tmp_path / "large.bin").write_bytes(content)
    client.log_artifact(run, tmp_path / "large.bin")
    place = mlflow.artifacts.download_artifacts(
        run_id=run, artifact_path="large.bin", dst_path=str(tmp_path / "d")
    )
    with open(place, "rb") as file:
        assert file.read() == content


def test_artifacts_are_deleted(client, run):
    for name in ("a.txt", "b/c.txt", "b/d.txt"):
        client.log_text(run, name, name)
    repository = client._tracking_client._get_artifact_repo(run)
    repository.delete_artifacts("a.txt")
    assert {one.path for one in client.list_artifacts(run)} == {"b"}
    repository.delete_artifacts("b")
    assert client.list_artifacts(run) == []
    with pytest.raises(MlflowException):
        mlflow.artifacts.load_text(f"runs:/{run}/a.txt")


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "{run}/../../x",
        "0/{run}/artifacts/../../../x",
        "0/{run}/artifacts/%2e%2e/%2e%2e/x",
        "0/{run}/artifacts//x",
        "0/{run}/artifacts/a/./b",
        "0/{run}/artifacts/a\\..\\b",
        "0/{run}/other/x",
        "0/{run}/artifacts",
        "registry/diagnosis/1/artifacts/x",
    ],
)
def test_no_file_lies_elsewhere(run, path):
    url = f"{URL}/mlflow/api/2.0/mlflow-artifacts/artifacts/{path.format(run=run)}"
    request = requests.Request("PUT", url, data=b"x").prepare()
    request.url = url  # as it is, without what a client makes of dots
    for method in ("PUT", "GET", "DELETE"):
        request.method = method
        answer = requests.Session().send(request)
        assert answer.status_code in (400, 404), (method, answer.status_code, answer.text)
        assert json.loads(answer.text)["error_code"] in (
            "INVALID_PARAMETER_VALUE",
            "RESOURCE_DOES_NOT_EXIST",
            "ENDPOINT_NOT_FOUND",
        )


def test_a_file_is_not_shown_as_a_page(client, run):
    client.log_text(run, "<script>alert(1)</script>", "a.html")
    answer = requests.get(f"{URL}/mlflow/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a.html")
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/octet-stream"

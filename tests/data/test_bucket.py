"""Files in a bucket, on a real S3 server: the same promises as in a folder."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from data_world import TRIPS, frame, open_station

from modelworks.core.errors import Unavailable
from modelworks.data.dataset import Dataset
from modelworks.data.sources.bucket import _regex
from modelworks.data.sources.files import Files
from modelworks.data.station import DataStation


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def options(endpoint: str) -> dict[str, str]:
    return {"endpoint": endpoint, "region": "eu-1", "access_key_id": "me", "secret_access_key": "s3cr3t"}


@pytest.fixture
def bucket(options: dict[str, str], request: pytest.FixtureRequest) -> Any:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=options["endpoint"], region_name="us-east-1", aws_access_key_id="me",
        aws_secret_access_key="s3cr3t",
    )  # fmt: skip
    client.create_bucket(Bucket="trips")
    yield client
    for one in client.list_objects_v2(Bucket="trips").get("Contents", ()):
        client.delete_object(Bucket="trips", Key=one["Key"])
    client.delete_bucket(Bucket="trips")


def put(bucket: Any, key: str, rows: pl.DataFrame) -> None:
    file = BytesIO()
    if key.endswith(".parquet"):
        rows.write_parquet(file)
    else:
        rows.write_csv(file)
    bucket.put_object(Bucket="trips", Key=key, Body=file.getvalue())


@pytest.fixture
def station(tmp_path: Path) -> Iterator[DataStation]:
    station, stores = open_station(tmp_path)
    yield station
    stores.ledger.close()


def trips(options: dict[str, str], pattern: str = "s3://trips/in/**/*") -> Dataset:
    return Dataset("trips", source=Files(pattern, options), contract=TRIPS, key="id", time="start")


def ids(station: DataStation) -> list[str]:
    return sorted(station.read("trips").collect()["id"])


def test_only_what_is_new(bucket: Any, options: dict[str, str], station: DataStation) -> None:
    put(bucket, "in/2024/1.parquet", frame(0))
    put(bucket, "in/2.csv", frame(3))
    put(bucket, "in/_3.csv", frame(6))
    put(bucket, "out/4.csv", frame(9))
    assert station.ingest(trips(options)).rows_added == 6
    assert station.ingest(trips(options)).version is None
    put(bucket, "in/2.csv", frame(3))  # the same again
    bucket.copy_object(Bucket="trips", Key="in/moved.csv", CopySource="trips/in/2.csv")
    bucket.delete_object(Bucket="trips", Key="in/2.csv")
    assert station.ingest(trips(options)).version is None
    put(bucket, "in/moved.csv", frame(3, distance=[1, 2, -3]))
    report = station.ingest(trips(options))
    assert (report.rows_added, report.rows_replaced, report.rows_quarantined) == (2, 2, 1)
    assert station.quarantined("trips")[0]["source"] == "s3://trips/in/moved.csv"
    assert ids(station) == ["t0", "t1", "t2", "t3", "t4", "t5"]


def test_what_cannot_be_read_stops_nobody(bucket: Any, options: dict[str, str], station: DataStation) -> None:
    put(bucket, "in/1.csv", frame(0))
    bucket.put_object(Bucket="trips", Key="in/2.parquet", Body=b"no parquet")
    report = station.ingest(trips(options))
    assert report.rows_added == 3
    assert list(report.failed) == ["s3://trips/in/2.parquet"]
    assert len(station.quarantined("trips")) == 1


def test_another_by_the_time_it_is_read(bucket: Any, options: dict[str, str], tmp_path: Path) -> None:
    put(bucket, "in/1.csv", frame(0))
    source = Files("s3://trips/in/*", options)
    (part,) = source.parts(tmp_path)
    put(bucket, "in/1.csv", frame(1))
    with pytest.raises(Unavailable, match="changed while it was read"):
        list(source.read(tmp_path, part))
    bucket.delete_object(Bucket="trips", Key="in/1.csv")
    with pytest.raises(Unavailable, match="cannot be read"):
        list(source.read(tmp_path, part))
    assert source.content(tmp_path, part) == ""


def test_a_store_that_does_not_answer(options: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as raised:
        Files("s3://trips/*", {**options, "endpoint": "http://127.0.0.1:1"}).parts(tmp_path)
    assert "s3cr3t" not in str(raised.value) + repr(Files("s3://trips/*", options))


def test_the_environment_says_where(
    bucket: Any, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, "in/1.csv", frame(0))
    for name, value in options.items():
        monkeypatch.setenv({"endpoint": "AWS_ENDPOINT_URL"}.get(name, f"AWS_{name.upper()}"), value)
    assert [part.uri for part in Files("s3://trips/in/*.csv").parts(tmp_path)] == ["s3://trips/in/1.csv"]


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("a/*.csv", "a/b.csv", True), ("a/*.csv", "a/b/c.csv", False), ("a/**/*.csv", "a/b/c.csv", True),
        ("a/**/*.csv", "a/c.csv", True), ("a/?.csv", "a/b.csv", True), ("a/[bc].csv", "a/d.csv", False),
        ("a+b/*.csv", "a+b/c.csv", True), ("**", "a/b/c", True), ("a.csv", "abcsv", False),
    ],
)  # fmt: skip
def test_patterns(pattern: str, key: str, matches: bool) -> None:
    import re

    assert bool(re.fullmatch(_regex(pattern), key)) is matches

"""Batch scoring: a file or a dataset through a model, into one Parquet file.

Rows are answered in parts, each a file of its own beside the output; whatever is killed, the next call goes on
with the parts that are missing, and the same versions answer them. At last the parts become the output, at once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from modelworks.core.errors import Conflict, Invalid, NotFound, NotReady, Unavailable
from modelworks.core.plain import to_json
from modelworks.core.ref import Ref, segment_text
from modelworks.jobs.executors import EXECUTORS
from modelworks.jobs.executors.port import own_cores
from modelworks.pipelines.context import Progress, Stations, silent
from modelworks.pipelines.score_part import Job, Part, columns_of, parts_of, score_part
from modelworks.serving.declared import Declared, declared_models
from modelworks.serving.scoring import OWN, Scoring, Version

_ROWS = 100_000
"""Of a part."""
_REASONS = 5
_PRELOAD = ("numpy", "polars", "onnxruntime", "modelworks.pipelines.score_part")


@dataclass(frozen=True)
class Scored:
    """What came of it.

    Attributes:
        out: The file.
        model: What was asked.
        rows: Its rows.
        answered: Those with an output.
        refused: Those with an error.
        reasons: The most common errors, with their numbers.
        quarantine: The file with the rows that have an error, whole, each with its reason; ``None`` where none has.
        flagged: Rows that were answered though something was odd: see the column ``flags``.
        versions: How many versions answered.
        parts: In how many parts.
        kept: How many of them an earlier call had done.
        seconds: Of this call.
    """

    out: str
    model: str
    rows: int
    answered: int
    refused: int
    reasons: dict[str, int]
    quarantine: str | None
    flagged: int
    versions: int
    parts: int
    kept: int
    seconds: float


def score(
    stations: Stations,
    ref: Ref,
    out: Path,
    *,
    file: Path | None = None,
    dataset: str | None = None,
    keep: Sequence[str] = (),
    workers: int = 0,
    places: Sequence[str] = (),
    progress: Progress = silent,
) -> Scored:
    """Answer every row, and write the answers.

    Args:
        stations: The belt.
        ref: The model: rows go to their segments' champions; with a segment or a version all go to it.
        out: The Parquet file to write; one that is there is replaced when all is done.
        file: Parquet, CSV, JSON or JSON Lines.
        dataset: Instead of a file: ``NAME`` or ``NAME@VERSION``.
        keep: Columns of the rows to write beside the answers, besides key and time; ``"*"`` for all.
        workers: Processes; 0 for one a core.
        places: Where the stores are: see `open_stores`.
        progress: Told how far it is.

    Raises:
        Invalid: the rows cannot be read, or lack a column.
        NotFound: there is no such model, version, file or dataset.
        NotReady: nothing of the model is live.
        Conflict: another process writes this file.
        Unavailable: a part could not be done; the others are kept.
    """
    begun = time.monotonic()
    if (file is None) == (dataset is None):
        raise Invalid("usage: it is not clear which rows", "", "give either a file or a dataset")
    if out.suffix != ".parquet":
        raise Invalid(
            f"usage: {out.name} is no Parquet file", "the answers are Parquet", "end it in .parquet"
        )
    source = _file(file) if file is not None else _dataset(stations, dataset or "")
    identity = {"model": str(ref), "source": source, "keep": list(keep), "rows": _ROWS, "form": 2}
    beside = out.with_name(f"{out.name}.parts")
    folder = beside / sha256(to_json(identity)).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(beside, out):
        for other in beside.iterdir():  # of another input, or other columns
            if other.is_dir() and other != folder:
                shutil.rmtree(other)
        scoring = _chosen(stations, ref, folder)
        rows = _staged(stations, file, dataset, folder)
        job = Job(str(folder), str(rows), scoring.to_json(), (), tuple(places))
        job = job.keeping(_kept(job, keep, scoring))
        parts = parts_of(rows, _ROWS)
        kept = sum((folder / part.name).exists() for part in parts)
        _do(job, [part for part in parts if not (folder / part.name).exists()], workers, len(parts), progress)
        told = {"model": str(ref), "source": source, "versions": _versions(scoring)}
        done = [folder / part.name for part in parts]
        quarantine = _quarantined(done, rows, out.with_name(f"{out.stem}.quarantine.parquet"))
        _assemble(done, out, told)
        answered, refused, flagged, reasons = _counts(out)
        shutil.rmtree(folder)
    _tidy(beside)
    return Scored(
        str(out), str(ref), answered + refused, answered, refused, reasons, quarantine, flagged,
        len(scoring.versions), len(parts), kept, time.monotonic() - begun,
    )  # fmt: skip


def chosen(stations: Stations, ref: Ref) -> Scoring:
    """What answers a model, a segment or a version now; loads nothing.

    Raises:
        NotFound: there is no such model or version.
        NotReady: nothing of the model is live.
    """
    with stations.stores.ledger.read() as db:
        declared = declared_models(db).get(ref.name, Declared(ref.name, ()))
    if ref.at is not None:
        one = stations.registry.get(ref)
        return Scoring(declared, False, {one.segment: Version(one.version, one.package)})
    live = stations.registry.champions(ref.name)
    if not live:
        known = sorted({one.model for one in stations.deploy.state()})
        raise NotReady(
            f"model {ref.name!r} is not live", f"models that are: {', '.join(known[:20]) or 'none'}",
            "train and deploy it",
        )  # fmt: skip
    if not ref.segment and declared.per:
        found = {segment: Version(one.version, one.package) for segment, one in live.items()}
        return Scoring(declared, True, found)
    near = next((ref.segment[:n] for n in range(len(ref.segment), -1, -1) if ref.segment[:n] in live), None)
    if near is None:
        raise NotFound(f"{ref} is not live", "neither it nor a parent has a champion", "deploy it")
    return Scoring(declared, False, {near: Version(live[near].version, live[near].package)})


def _chosen(stations: Stations, ref: Ref, folder: Path) -> Scoring:
    """What answers, as it was chosen when the first part was begun."""
    noted = folder / "versions.json"
    if not noted.exists():
        _write(noted, to_json(chosen(stations, ref).to_json()))
    return Scoring.from_json(orjson.loads(noted.read_bytes()))


def _versions(scoring: Scoring) -> dict[str, int]:
    return {segment_text(segment): one.version for segment, one in scoring.versions.items()}


def _file(path: Path) -> dict[str, Any]:
    """What tells a file from another one, or from what it was."""
    if not path.is_file():
        raise NotFound(f"there is no file {path}", "", "name a file of rows")
    known = path.stat()
    return {"file": str(path.resolve()), "bytes": known.st_size, "changed": known.st_mtime_ns}


def _dataset(stations: Stations, text: str) -> dict[str, Any]:
    version = stations.data.version_of(Ref.parse(text))
    return {"dataset": f"{version.dataset}@{version.version}"}


def _staged(stations: Stations, file: Path | None, dataset: str | None, folder: Path) -> Path:
    """The rows as a Parquet file: the one that was given, or one beside the parts."""
    if file is not None and file.suffix.lower() == ".parquet":
        return file.resolve()
    rows = folder / "rows.parquet"
    if not rows.exists():
        part = folder / "rows.part"
        try:
            _scan(stations, file, dataset).sink_parquet(part, row_group_size=_ROWS, maintain_order=True)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise Invalid(
                f"the rows of {file or dataset} cannot be read", " ".join(str(error).split())[:300],
                "mend the file, or convert it to Parquet",
            ) from error  # fmt: skip
        part.rename(rows)
    return rows


def _scan(stations: Stations, file: Path | None, dataset: str | None) -> pl.LazyFrame:
    if file is None:
        own = stations.data.show(dataset or "")["contract"]
        return stations.data.read(dataset or "").select(one["name"] for one in own)
    match file.suffix.lower():
        case ".csv":  # text: what the model takes says what a column is, the first rows do not
            return pl.scan_csv(file, infer_schema=False, glob=False)
        case ".jsonl" | ".ndjson":
            return pl.scan_ndjson(file, infer_schema_length=None)
        case ".json":
            return pl.read_json(file, infer_schema_length=None).lazy()
    raise Invalid(f"usage: {file.name} has no known format", "", "use .parquet, .csv, .jsonl or .json")


def _kept(job: Job, keep: Sequence[str], scoring: Scoring) -> tuple[str, ...]:
    """The columns to write beside the answers; looks that all others that are needed are there, too."""
    there = columns_of(job)
    declared = scoring.declared
    named = [name for name in (declared.key, declared.time) if name in there]
    wanted = there if "*" in keep else [*named, *keep]
    for name in wanted:
        if name not in there:
            raise Invalid(
                f"there is no column {name!r} to keep", f"there are {', '.join(there[:50])}", "correct --keep"
            )
        if name in OWN or name in scoring.schema:
            raise Invalid(
                f"the column {name!r} cannot be kept", "a column of the answers has that name", "rename it"
            )
    return tuple(dict.fromkeys(wanted))


def _do(job: Job, missing: Sequence[Part], workers: int, total: int, progress: Progress) -> None:
    """Do the parts that are missing."""
    done, begun = total - len(missing), time.monotonic()
    progress("scoring", done, total)
    workers = min(workers or own_cores(), len(missing))
    pool = EXECUTORS["inline" if workers <= 1 else "processes"](_PRELOAD)
    try:
        for one in pool.run(score_part, missing, workers=workers, initial=job):
            if one.fate == "raised" and one.error.startswith("Invalid: "):
                raise Invalid(one.error.removeprefix("Invalid: "), "", "")
            if one.fate != "done":
                raise Unavailable(
                    f"rows {one.item.start:,} to {one.item.start + one.item.count:,} could not be answered",
                    one.error,
                    "the other parts are kept: the same command goes on with what is missing",
                )
            done += 1
            here = done - (total - len(missing))
            progress("scoring", done, total, (time.monotonic() - begun) / here * (total - done))
    finally:
        pool.close()


def _assemble(parts: Sequence[Path], out: Path, told: Any) -> None:
    """Make one file of the parts, which is there whole or not at all."""
    part = out.with_name(f".{out.name}.part")
    pl.scan_parquet(list(parts), glob=False).sink_parquet(
        part, row_group_size=_ROWS, maintain_order=True, metadata={"modelworks": to_json(told).decode()}
    )
    _flushed(part)
    part.rename(out)


def _quarantined(parts: Sequence[Path], rows: Path, out: Path) -> str | None:
    """Write the rows that have an error, as they came, with their number and the reason; none, no file."""
    wrong = (
        pl.scan_parquet(list(parts), glob=False).select("row", "error").filter(pl.col("error").is_not_null())
    )
    wrong = wrong.collect().lazy()
    if not wrong.select(pl.len()).collect().item():
        out.unlink(missing_ok=True)
        return None
    given = pl.scan_parquet(rows, glob=False)
    number, error = "row", "error"
    while {number, error} & set(given.collect_schema()):
        number, error = f"_{number}", f"_{error}"
    kept = given.with_row_index(number).with_columns(pl.col(number).cast(pl.Int64))
    part = out.with_name(f".{out.name}.part")
    kept.join(wrong.rename({"row": number, "error": error}), on=number, maintain_order="left").sink_parquet(
        part
    )
    _flushed(part)
    part.rename(out)
    return str(out)


def _counts(out: Path) -> tuple[int, int, int, dict[str, int]]:
    """Rows with and without an answer, those flagged, and the most common reasons."""
    rows = pl.scan_parquet(out, glob=False)
    wrong = rows.filter(pl.col("error").is_not_null())
    counted = rows.select(pl.len(), pl.col("error").count(), pl.col("flags").count())
    total, refused, flagged = counted.collect().row(0)
    most = wrong.group_by("error").len().sort("len", "error", descending=[True, False]).head(_REASONS)
    return total - refused, refused, flagged, dict(most.collect().iter_rows()) if refused else {}


def _write(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(content)
    _flushed(part)
    part.rename(path)


def _flushed(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _alone(beside: Path, out: Path) -> Iterator[None]:
    with (beside / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"another process writes {out}", "", "wait for it, or name another file") from None
        yield


def _tidy(beside: Path) -> None:
    (beside / "lock").unlink(missing_ok=True)
    beside.rmdir()

"""A run: what it is given to record goes to its sink at once, an entry a call."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from modelworks.core.clock import Clock, new_id, system_clock
from modelworks.core.errors import Conflict, Invalid
from modelworks.core.plain import plain
from modelworks.track import content
from modelworks.track.entry import (
    POINTS_LIMIT,
    TEXT_LIMIT,
    Course,
    Entry,
    Status,
    check_field,
    number,
    word,
    words,
)
from modelworks.track.html import run_html
from modelworks.track.model import Logged
from modelworks.track.sink import Sink
from modelworks.track.system import Sampler

if TYPE_CHECKING:
    import pandas as pd

    from modelworks.registry.model_version import ModelVersion

_CURRENT: ContextVar[Run | None] = ContextVar("modelworks_run", default=None)
_NAME_LIMIT = 120
_TRAIL = 500
"""Newest points of a metric that are held for drawing it."""


def current() -> Run | None:
    """The innermost run that is open here."""
    run = _CURRENT.get()
    return run if run is not None and not run.ended else None


class Run:
    """What is recorded of one execution: ``with mw.run("name") as run:``, or ``run = mw.start_run("name")``.

    Every call that records something takes microseconds and returns when what it was given survives the death
    of the process.

    Attributes:
        id: Its id.
        name: Its name; many runs may share one.
        experiment: The group of runs that it belongs to; ``""`` for none.
        parent: Id of the run that it is part of.
        params: The parameters so far.
        metrics: The newest value of each metric.
        tags: The tags so far.
        artifacts: Name to digest.
        status: ``"running"``, and how it ended.
    """

    def __init__(self, sink: Sink, name: str, experiment: str, parent: str | None, identifier: str) -> None:
        self.id = identifier
        self.name = name
        self.experiment = experiment
        self.parent = parent
        self.params: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.artifacts: dict[str, str] = {}
        self.status: Status = "running"
        self._sink = sink
        self._next: dict[str, int] = {}
        self._trails: dict[str, deque[float]] = {}
        self._made: ModelVersion | None = None
        self._outer: Run | None = None
        self._sampler: Sampler | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.status != "running"

    # -- recording ---------------------------------------------------------------------------------------

    def log_params(self, params: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record parameters; one given again takes the new value.

        Raises:
            Invalid: a name that cannot name a parameter, a text that is too long.
        """
        given = plain({check_field(str(k)): v for k, v in {**(params or {}), **more}.items()})
        for name, value in given.items():
            if isinstance(value, str) and len(value) > TEXT_LIMIT:
                raise Invalid(
                    f"parameter {name!r} is too long",
                    f"{len(value)} characters, the most is {TEXT_LIMIT}",
                    "keep it with log_artifact",
                )
        self._say(params=given)
        self.params.update(given)

    def log_metrics(
        self, metrics: Mapping[str, float] | None = None, /, *, step: int | None = None, **more: float
    ) -> None:
        """Record a point of the course of each metric.

        Args:
            metrics: Name to value.
            step: Where on the course; by default one further than before, from 0.
            more: Name to value.

        Raises:
            Invalid: a value is not a number.
        """
        given = {**(metrics or {}), **more} if more else metrics or {}
        by_step: dict[int, dict[str, float | str]] = {}
        for name, value in given.items():
            try:
                real = float(value)
            except (TypeError, ValueError):
                raise Invalid(f"metric {name!r} is not a number", f"got {value!r}", "give a number") from None
            if name not in self._trails:
                self._trails[check_field(name)] = deque(maxlen=_TRAIL)
            at = self._next.get(name, 0) if step is None else int(step)
            by_step.setdefault(at, {})[name] = word(real)
        for at, values in by_step.items():
            self._say(metrics=values, step=at)
            for name, said in values.items():
                self._next[name] = max(at + 1, self._next.get(name, 0))
                self.metrics[name] = number(said)
                self._trails[name].append(self.metrics[name])

    def log_course(self, metric: str, values: Iterable[float], steps: Iterable[int] | None = None) -> None:
        """Record many points of a metric at once: what a library gives when it is done.

        Args:
            metric: Its name.
            values: The values.
            steps: Where each of them is; by default one after the other, going on where the metric is.

        Raises:
            Invalid: a value is not a number, or there are not as many steps.
        """
        check_field(metric)
        try:
            real = list(map(float, values))
        except (TypeError, ValueError) as error:
            raise Invalid(f"metric {metric!r} is not a number", str(error), "give numbers") from None
        first = self._next.get(metric, 0)
        at = list(range(first, first + len(real))) if steps is None else list(map(int, steps))
        if len(at) != len(real):
            raise Invalid(
                f"the course of {metric!r} has {len(real)} values and {len(at)} steps",
                "",
                "give as many of both",
            )
        for begin in range(0, len(real), POINTS_LIMIT):
            part = slice(begin, begin + POINTS_LIMIT)
            self._say(courses={metric: Course(at[part], words(real[part]))})
        if real:
            self._next[metric] = max(first, max(at) + 1)
            self.metrics[metric] = real[at.index(max(at))]
            self._trails.setdefault(metric, deque(maxlen=_TRAIL)).extend(real)

    def log_tags(self, tags: Mapping[str, str | None] | None = None, /, **more: str | None) -> None:
        """Record short texts by which runs are found again; ``None`` takes a tag away."""
        given = {
            check_field(str(name)): None if value is None else str(value)[:TEXT_LIMIT]
            for name, value in {**(tags or {}), **more}.items()
        }
        self._say(tags=given)
        for name, value in given.items():
            if value is None:
                self.tags.pop(name, None)
            else:
                self.tags[name] = value

    def note(self, text: str) -> None:
        """Say something of it in words, Markdown; takes the place of an earlier note."""
        self._say(note=text[: 10 * TEXT_LIMIT])

    def log_artifact(self, content: bytes | str | Path, name: str | None = None) -> str:
        """Store a file or bytes.

        Args:
            content: Bytes, or the path of a file.
            name: Name within the run; the file's by default.

        Returns:
            Its digest.

        Raises:
            Invalid: bytes without a name.
        """
        if isinstance(content, bytes):
            if name is None:
                raise Invalid("an artifact of bytes has no name", "", "give one with name=")
            return self._keep(name, content)
        return self._keep(name or Path(content).name, Path(content).read_bytes())

    def log_figure(self, figure: Any, name: str = "figure") -> str:
        """Store a figure of matplotlib as PNG, of plotly or altair as HTML; returns its digest.

        Raises:
            Invalid: it is none of these.
        """
        return self._keep(*content.figure(figure, name))

    def log_table(self, frame: Any, name: str = "table") -> str:
        """Store a frame (polars, pandas), or a dict of columns, as Parquet; returns its digest.

        Raises:
            Invalid: it is not a table.
        """
        return self._keep(*content.table(frame, name))

    def log_model(self, model: Any, name: str, example: pd.DataFrame, y: Any = None) -> ModelVersion:
        """Package a fitted model, prove its compiled form on `example`, and register it as a new version.

        The version stands in the ledger at once, together with what the run has recorded so far. On a server the
        same is done there: it takes models that are kept as data, or that compile; no pickle, unless it is told to.

        Args:
            model: A fitted model of one of the flavors.
            name: Name of the model.
            example: Rows as the model takes them; the more, and the more like real ones, the more the proof
                is worth.
            y: Their targets, if they are at hand: how good the model is on these rows is measured then, and
                recorded where the run has no metric of that name. They are also the labels of a model that
                does not know them itself.

        Raises:
            Conflict: the run has made a version already.
            Invalid: the model cannot be packaged.
            Denied: it would go to a server as a pickle, which the server does not take.
        """
        if self._made is not None:
            raise Conflict(
                f"run {self.name!r} has logged a model already",
                f"it is {self._made.ref}",
                "start a run for each model",
            )
        origin = f"logged by run {self.name}"
        version = self._sink.register(Logged(self.id, origin, model, name, example, y, self.metrics))
        self._made = version
        more = {
            name: value
            for name, value in version.metrics.items()
            if value is not None and name not in self.metrics
        }
        if more:
            self.log_metrics(more)
        return version

    # -- beginning and ending ----------------------------------------------------------------------------

    def end(self, status: Status = "done", error: str | None = None) -> None:
        """End it; a second time does nothing.

        Args:
            status: ``"done"``, ``"failed"`` or ``"killed"``.
            error: Why it failed.
        """
        if self.ended:
            return
        if self._sampler is not None:
            self._sampler.stop()
        self._say(status=status, error=error)
        self.status = status
        if _CURRENT.get() is self:
            _CURRENT.set(self._outer)

    def __enter__(self) -> Run:
        if _CURRENT.get() is not self:
            self._outer = _CURRENT.get()
            _CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
        else:
            self.end("failed", f"{type(error).__name__}: {error}".rstrip(": "))

    def settle(self) -> None:
        """Return when all that it has recorded can be read by others."""
        self._sink.settle()

    def _keep(self, name: str, data: bytes) -> str:
        check_field(name)
        digest = self._sink.put(data)
        self._say(artifacts={name: digest})
        self.artifacts[name] = digest
        return digest

    def _say(self, **what: Any) -> None:
        if self.ended:
            raise Conflict(
                f"run {self.name!r} has ended",
                f"it is {self.status}",
                f"go on with mw.run(resume={self.id!r})",
            )
        self._sink.say(Entry(self.id, _micros(self._sink.clock), **what))

    def __repr__(self) -> str:
        return f"<Run {self.name} {self.id} {self.status}>"

    def _repr_html_(self) -> str:
        told = {name: getattr(self, name) for name in ("id", "name", "experiment", "status", "params", "metrics",
                                                       "tags", "artifacts")}  # fmt: skip
        courses = {name: list(trail) for name, trail in self._trails.items()}
        return run_html(told, courses, "" if self._made is None else _made(self._made))


def begin(
    sink: Sink,
    name: str,
    *,
    experiment: str | None = None,
    parent: str | Run | None = None,
    tags: Mapping[str, str] | None = None,
    system: float | bool = False,
) -> Run:
    """Begin a run; see `modelworks.run`.

    Raises:
        Invalid: `name` cannot name a run.
    """
    around = current()
    above = parent.id if isinstance(parent, Run) else parent
    if parent is None and around is not None and around._sink is sink:
        above = around.id
        experiment = around.experiment if experiment is None else experiment
    group = _checked(experiment, "experiment") if experiment else ""
    run = Run(sink, _checked(name, "run name"), group, above, new_id())
    run._say(
        name=run.name, experiment=run.experiment or None, parent=above, session=sink.session, status="running",
        tags=dict(tags or {}), source=sink.source.now,
    )  # fmt: skip
    run.tags.update(tags or {})
    return _living(run, system)


def resume(sink: Sink, identifier: str, *, system: float | bool = False) -> Run:
    """Go on with a run.

    Raises:
        NotFound: there is none of that id.
        Conflict: it is not one that was recorded by hand.
    """
    told = sink.look(identifier)
    if told["kind"] != "experiment":
        raise Conflict(f"run {identifier} was made by a {told['kind']}", "", "begin a run of your own")
    run = Run(sink, told["name"], told["experiment"], told["parent"], told["id"])
    run.params, run.tags, run.artifacts = told["params"], told["tags"], told["artifacts"]
    run.metrics = {name: float("nan") if value is None else value for name, value in told["metrics"].items()}
    run._next = {name: step + 1 for name, step in told["steps"].items()}
    run._say(session=sink.session, status="running", source=sink.source.now)
    return _living(run, system)


def _living(run: Run, system: float | bool) -> Run:
    if run._sink.source.now is None:
        run._sink.source.then(
            lambda known: run._sink.say(Entry(run.id, _micros(run._sink.clock), source=known))
        )
    if system:
        run._sampler = Sampler(run.log_metrics, 10.0 if system is True else float(system))
    return run


def _made(version: ModelVersion) -> str:
    """The version, and how it is served, in words."""
    proof = version.package.proof
    if version.package.compiled is None:
        return f"{version.ref}, served natively: {proof.reason}"
    equal = f"proven equal on {proof.rows:,} rows within {proof.largest_difference:.0e}"
    return f"{version.ref}, compiled to ONNX and {equal}"


def _checked(name: str, what: str) -> str:
    """Return `name` if a person can read it in a list, and if it is no path."""
    if not 0 < len(name) <= _NAME_LIMIT or not name.isprintable() or ".." in name or "/" in name[:1]:
        raise Invalid(
            f"{name[:80]!r} is not a valid {what}",
            f"a name has 1 to {_NAME_LIMIT} visible characters, no '..' and no '/' in front",
            "choose another name",
        )
    return name


def _micros(clock: Clock) -> int:
    """Now, microseconds since 1970; what a datetime costs more is left out where it can be."""
    return time.time_ns() // 1000 if clock is system_clock else round(clock().timestamp() * 1e6)

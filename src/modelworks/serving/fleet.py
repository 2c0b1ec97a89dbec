"""The fleet: which versions are live; followed in the ledger, loaded beside the traffic, swapped at once."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from modelworks.core.errors import ModelworksError, NotFound, NotReady
from modelworks.core.ref import Ref, Segment, parse_segment
from modelworks.core.schema import Kind
from modelworks.models.package import Package
from modelworks.models.packaging import load
from modelworks.models.predictor import Predictor
from modelworks.serving import trials
from modelworks.serving.arms import Division
from modelworks.serving.columns import Rows, merge, rows_of
from modelworks.serving.declared import Declared, declared_models
from modelworks.serving.input_guard import guard_of
from modelworks.serving.keeping import ALL, Keeping
from modelworks.serving.metrics import Counters
from modelworks.serving.native.pools import Pools
from modelworks.serving.paths import parse
from modelworks.serving.redaction import made_key, redaction_of
from modelworks.serving.replica import Replica
from modelworks.serving.residency import Residency, Resident
from modelworks.serving.target import Route, RowsTarget, Target
from modelworks.serving.tensor_target import TensorTarget
from modelworks.serving.tensors import MATRIX
from modelworks.serving.trials import Trials
from modelworks.stores.artifacts import Artifacts
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import datasets, deployments, model_versions, models

_log = logging.getLogger("modelworks.serving")
_PINNED = 64
_TARGETS = 10_000

Loader = Callable[[Package, Artifacts], Predictor]


@dataclass(frozen=True, eq=False)
class Served:
    """A model with its live replicas.

    Attributes:
        declared: What it is.
        replicas: The champions, by segment.
        counters: What was counted of it.
        divisions: Segments with a rollout or a holdout.
        keeping: What of its requests is logged.
    """

    declared: Declared
    replicas: Mapping[Segment, Replica]
    counters: Counters
    divisions: Mapping[Segment, Division] = field(default_factory=dict)
    keeping: Keeping = ALL

    def rows(
        self, replicas: Iterable[Replica], per: tuple[str, ...], divisions: Collection[Division] = ()
    ) -> Rows:
        """The decoder for rows that these replicas can answer."""
        declared = self.declared
        others = [other for division in divisions for other in division.replicas()]
        signatures = [replica.signature for replica in [*replicas, *others]]
        return rows_of(
            merge(
                signatures,
                per,
                declared.key,
                declared.time,
                declared.nullable(signatures),
                {one.name: one.kind for one in declared.contract if one.kind is not Kind.TIME},
                sorted(trials.columns(divisions)),
            )
        )

    def route(
        self,
        segment: Segment | None,
        version: int | None,
        pinned: Callable[[Ref], Replica],
        silent: bool = True,
    ) -> Route:
        """Where rows go: by their own columns, or all to one segment's replica.

        Args:
            segment: ``None`` for routing by the rows' columns.
            version: One version instead of the champion.
            pinned: Gives the replica of a version that is not live.
            silent: Whether a row may be told nothing.

        Raises:
            NotFound: the model has no such segment or version.
            NotReady: nothing of the model is live.
        """
        declared = self.declared
        if version is None and not self.replicas:
            raise NotReady(
                f"model {declared.name!r} is not live", "it has no champion yet", "train and deploy it"
            )
        divisions = self.divisions if silent else {key: one.voiced for key, one in self.divisions.items()}
        if segment is None and version is None and declared.per:
            rows = self.rows(self.replicas.values(), declared.per, divisions.values())
            return Route(declared.name, declared.per, rows, self.replicas, divisions)
        replica = self._one(segment or (), version, pinned)
        mine: dict[Segment, Division] = {}
        if version is None and replica.ref.segment in divisions:
            mine[()] = divisions[replica.ref.segment]
        return Route(declared.name, (), self.rows([replica], (), mine.values()), {(): replica}, mine)

    def _one(self, segment: Segment, version: int | None, pinned: Callable[[Ref], Replica]) -> Replica:
        declared = self.declared
        if len(segment) > len(declared.per):
            split = ", ".join(declared.per) or "nothing"
            raise NotFound(
                f"there is no {Ref(declared.name, segment)}",
                f"the segment has {len(segment)} values, the model is split by {split}",
                "name fewer values",
            )
        if version is not None:
            live = self.replicas.get(segment)
            return (
                live
                if live is not None and live.version == version
                else pinned(Ref(declared.name, segment, version))
            )
        for length in range(len(segment), -1, -1):
            if segment[:length] in self.replicas:
                return self.replicas[segment[:length]]
        raise NotFound(
            f"{Ref(declared.name, segment)} is not live",
            "neither it nor a parent has a champion",
            "deploy it",
        )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What is live at one moment. Requests that came together see one snapshot.

    Attributes:
        revision: The deployments' revision that it shows.
        models: By name.
        targets: By path, filled as paths are used.
    """

    revision: int
    models: Mapping[str, Served]
    targets: dict[bytes, Target] = field(default_factory=dict)

    def served(self, name: str) -> Served:
        """A model.

        Raises:
            NotFound: there is none of that name.
        """
        found = self.models.get(name)
        if found is None:
            known = ", ".join(sorted(self.models)[:20]) or "none"
            raise NotFound(f"there is no model {name!r}", f"models here: {known}", "use one of these")
        return found

    def target(self, path: bytes, pinned: Callable[[Ref], Replica]) -> Target:
        """What requests to a path lead to.

        Raises:
            Invalid: the path is not one of a model.
            NotFound: there is no such model, segment or version.
            NotReady: nothing of the model is live.
        """
        target = self.targets.get(path)
        if target is None:
            parsed = parse(path)
            ref = parsed.ref
            served = self.served(ref.name)
            version = ref.at if isinstance(ref.at, int) else None
            rows = parsed.verb == "predict"
            route = served.route(ref.segment or None, version, pinned, silent=rows)
            target = self._make(served, route, ref, not rows)
            # A pinned version is kept by the fleet, which also lets go of it.
            if version is None and len(self.targets) < _TARGETS:
                self.targets[path] = target
        return target

    def _make(self, served: Served, route: Route, ref: Ref, tensors: bool) -> Target:
        declared = served.declared
        schema: dict[str, Any] = {
            "columns": list(route.rows.columns),
            "key": declared.key,
            "time": declared.time,
        }
        if not tensors:
            computed = (declared.dataset, declared.features) if declared.dataset else ("", ())
            return RowsTarget(route, served.counters, orjson.dumps(schema), *computed, served.keeping)
        only = None if route.per else route.bound[()].replica
        if only is not None and not only.signature.texts and MATRIX not in route.rows.columns:
            schema["matrix"] = list(only.signature.numbers)
        optional = [name for name in (declared.key, declared.time) if name is not None]
        name = str(Ref(ref.name, ref.segment))
        return TensorTarget(route, served.counters, orjson.dumps(schema), name, optional, served.keeping)


class Fleet:
    """Follows the ledger.

    Args:
        ledger: Where models and deployments stand.
        artifacts: Where packages are.
        loader: Loads a package.
        memory: Bytes that loaded models may take together; 0 for any.
        pools: Where models are answered that are not compiled; ``None`` for in this process.
    """

    def __init__(
        self,
        ledger: Ledger,
        artifacts: Artifacts,
        loader: Loader = load,
        memory: int = 0,
        pools: Pools | None = None,
    ) -> None:
        self.ledger = ledger
        self.artifacts = artifacts
        self.snapshot = Snapshot(-1, MappingProxyType({}))
        self.counters: dict[str, Counters] = {}
        self.failures: dict[tuple[str, str], str] = {}
        self.residency = Residency(memory)
        self.pools = pools
        self._load = loader
        self._lock = threading.Lock()
        self._mark: tuple[Any, ...] | None = None
        self._seen = -1
        self._pins: OrderedDict[str, Replica] = OrderedDict()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.trials = Trials(self._replica)
        self._key = b""
        self._declared: Mapping[str, Declared] = {}
        self._ways_back: dict[tuple[str, Segment], Replica] = {}
        self._held: set[Replica] = set()

    @property
    def ready(self) -> bool:
        """Whether the ledger has been read."""
        return self.snapshot.revision >= 0

    def refresh(self) -> bool:
        """Bring what is live up to date with the ledger; loads only what changed. True if anything did.

        A version that cannot be loaded leaves its predecessor live, stands in `failures`, and is tried again.
        """
        with self._lock:
            with self.ledger.read() as db:
                mark = _mark(db)
                if mark == self._mark and not self.failures:
                    return False
                declared = declared_models(db)
                self._declared = declared
                changed = _changed(db, self._seen)
                live = {
                    (row.model, row.segment)
                    for row in db.execute(select(deployments.c.model, deployments.c.segment))
                }
            # One failure holds the mark back, so that what came after it is seen again; loaded ones are kept.
            before = self.snapshot.models
            replicas: dict[str, dict[Segment, Replica]] = {
                name: dict(one.replicas) for name, one in before.items()
            }
            failures: dict[tuple[str, str], str] = {}
            for row in changed:
                segment = parse_segment(row.segment)
                mine = replicas.setdefault(row.model, {})
                standing = mine.get(segment)
                if standing is not None and standing.version == row.champion:
                    continue
                try:
                    fresh = self._ready(row.model, segment, row.champion) or self._replica(
                        row.model, segment, row.champion, row.package
                    )
                    if standing is not None or not self.residency.full:
                        fresh.load()
                    self._keep_way_back(row, segment, standing)
                    mine[segment] = fresh
                except Exception as error:
                    failures[row.model, row.segment] = f"version {row.champion}: {error}"
                    _log.exception("%s@%s cannot be loaded", Ref(row.model, segment), row.champion)
            holdouts = {name: one.holdout for name, one in declared.items() if one.holdout is not None}
            keys = {name: one.key for name, one in declared.items()}
            with self.ledger.read() as db:
                divisions = self.trials.divisions(db, replicas, holdouts, keys)
            fleet: dict[str, Served] = {}
            for name in declared.keys() | {model for model, _ in live}:
                mine = replicas.get(name, {})
                kept = {segment: one for segment, one in mine.items() if (name, one.text) in live}
                what = declared.get(name, Declared(name, ()))
                old = before.get(name)
                divided = {at: one for at, one in divisions.get(name, {}).items() if at in kept}
                same = old is not None and old.declared == what and dict(old.replicas) == kept
                if old is not None and same and dict(old.divisions) == divided:
                    fleet[name] = old
                else:
                    counters = self.counters.setdefault(name, Counters())
                    keeping = self._keeping(what)
                    fleet[name] = Served(
                        what, MappingProxyType(kept), counters, MappingProxyType(divided), keeping
                    )
            self._guarded(fleet)
            self.snapshot = self._prepared(Snapshot(mark[0], MappingProxyType(fleet)))
            self._release()
            self.failures = failures
            self._mark = mark
            failed = [row.revision for row in changed if (row.model, row.segment) in failures]
            self._seen = min(failed) - 1 if failed else mark[0]
            return True

    def _keeping(self, declared: Declared) -> Keeping:
        if declared.sensitive and not self._key:
            self._key = made_key(self.ledger)
        return Keeping(declared.log.sample, redaction_of(declared.contract, self._key))

    def _guarded(self, fleet: Mapping[str, Served]) -> None:
        """Tell the replicas what is done about odd rows now, and whether they may say what is in them."""
        for served in fleet.values():
            others = [other for division in served.divisions.values() for other in division.replicas()]
            for replica in (*served.replicas.values(), *others):
                replica.discreet = bool(served.declared.sensitive)
                if replica.guard is not None:
                    replica.guard = replica.guard.under(served.declared.inputs)

    def _prepared(self, fresh: Snapshot) -> Snapshot:
        """Make the targets of the paths in use here rather than under the first request."""
        old = self.snapshot
        likely = [
            path % name.encode() for name in fresh.models for path in (b"/predict/%b", b"/v2/models/%b/infer")
        ]
        for path in dict.fromkeys([*likely, *list(old.targets)]):
            try:
                name = parse(path).ref.name
                if path in old.targets and fresh.models.get(name) is old.models.get(name):
                    fresh.targets[path] = old.targets[path]
                else:
                    fresh.target(path, self.pinned)
            except ModelworksError:  # not live: whoever asks for it is told
                continue
        return fresh

    def pinned(self, ref: Ref) -> Replica:
        """The replica of any registered version; the last ones used stay loaded.

        Raises:
            NotFound: there is no such version.
        """
        key = str(ref)
        found = self._pins.get(key)
        if found is None:
            row_of = select(model_versions.c.package, model_versions.c.segment).where(
                model_versions.c.model == ref.name, model_versions.c.version == ref.at
            )
            with self.ledger.read() as db:
                package = next(
                    (row.package for row in db.execute(row_of) if parse_segment(row.segment) == ref.segment),
                    None,
                )
            if package is None:
                raise NotFound(
                    f"there is no version {ref}", "", "list the versions with 'modelworks models show'"
                )
            assert isinstance(ref.at, int)
            found = self._replica(ref.name, ref.segment, ref.at, package)
        with self._lock:
            self._pins[key] = found
            self._pins.move_to_end(key)
            while len(self._pins) > _PINNED:
                self.residency.release(self._pins.popitem(last=False)[1].predictor)
        return found

    def _release(self) -> None:
        """Give up the models that are neither live, nor on trial, nor a way back any more."""
        live = {one for served in self.snapshot.models.values() for one in served.replicas.values()}
        kept = live | self.trials.held() | set(self._ways_back.values())
        for gone in self._held - kept:
            self.residency.release(gone.predictor)
        self._held = kept

    def _ready(self, model: str, segment: Segment, version: int) -> Replica | None:
        """A version that is in memory already, as a challenger or as the way back."""
        back = self._ways_back.get((model, segment))
        return back if back and back.version == version else self.trials.loaded(model, segment, version)

    def _keep_way_back(self, row: Any, segment: Segment, before: Replica | None) -> None:
        """Keep the champion that was, where the strategy wants an instant way back to it."""
        if row.strategy.get("kind") == "blue_green" and before is not None:
            self._ways_back[row.model, segment] = before
        else:
            self._ways_back.pop((row.model, segment), None)

    def _replica(self, model: str, segment: Segment, version: int, stored: Mapping[str, Any]) -> Replica:
        package = Package.from_json(stored)
        compiled = package.compiled is not None
        loaded: Callable[[], Predictor] = partial(self._load, package, self.artifacts)
        if self.pools is not None and package.served == "native":
            loaded = partial(self.pools.predictor, str(Ref(model, segment, version)), package)
        predictor = Resident(self.residency, loaded)
        declared = self._declared.get(model) or Declared(model, ())
        return Replica(
            model,
            segment,
            version,
            package.signature,
            predictor,
            compiled,
            guard_of(package, self.artifacts, declared.inputs),
            lane=None if compiled else package.flavor,
            discreet=bool(declared.sensitive),
        )

    def live(self) -> dict[str, int]:
        """Model versions that answer, by model."""
        return {name: len(served.replicas) for name, served in self.snapshot.models.items()}

    def spent(self) -> dict[str, float]:
        """Seconds of the processor that worker processes have taken so far, by model."""
        return {} if self.pools is None else self.pools.spent()

    def follow(self, seconds: float, after: Callable[[], None] = lambda: None) -> None:
        """Refresh every `seconds` in a thread until `close`; `after` is called after each look."""

        def loop() -> None:
            while not self._stop.wait(seconds):
                try:
                    self.refresh()
                    self.trials.beat(self.ledger)
                    if self.pools is not None:
                        self.pools.tend()
                    after()
                except Exception as error:
                    # The ledger does not answer: what is live stays live.
                    level = logging.WARNING if isinstance(error, ModelworksError) else logging.ERROR
                    _log.log(level, "the ledger cannot be read: %s", error)

        self._stop.clear()
        self._thread = threading.Thread(target=loop, name="modelworks-fleet", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.trials.close(self.ledger)
        if self.pools is not None:
            self.pools.close()


def _mark(db: Connection) -> tuple[Any, ...]:
    """What changes when anything that matters here changes; the first is the deployments' revision."""
    deployed = db.execute(select(func.max(deployments.c.revision), func.count())).one()
    told = db.execute(select(func.max(models.c.updated), func.count())).one()
    based = db.execute(select(func.max(datasets.c.updated), func.count()).select_from(datasets)).one()
    return (deployed[0] or 0, deployed[1], *told, *based, *trials.mark(db))


def _changed(db: Connection, seen: int) -> list[Any]:
    query = (
        select(
            deployments.c.model,
            deployments.c.segment,
            deployments.c.champion,
            deployments.c.revision,
            deployments.c.strategy,
            model_versions.c.package,
        )
        .join(
            model_versions,
            (model_versions.c.model == deployments.c.model)
            & (model_versions.c.segment == deployments.c.segment)
            & (model_versions.c.version == deployments.c.champion),
        )
        .where(deployments.c.revision > seen)
        .order_by(deployments.c.revision)
    )
    return list(db.execute(query))

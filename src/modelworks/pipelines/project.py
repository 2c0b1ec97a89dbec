"""A project as code: the datasets and models that ``factory.py`` defines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from modelworks.core.defined import note
from modelworks.core.duration import duration
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.ref import check_name
from modelworks.data.dataset import Dataset
from modelworks.data.features.definition import to_json
from modelworks.deploy.holdout import Holdout
from modelworks.deploy.inputs import Inputs
from modelworks.deploy.log import Log
from modelworks.deploy.strategies.direct import Direct
from modelworks.deploy.strategies.port import Strategy
from modelworks.learn.budget import Budget
from modelworks.learn.policy import Policy
from modelworks.learn.triggers.port import Trigger
from modelworks.models.definition import Definition, Fit, Learn
from modelworks.models.metrics import METRICS
from modelworks.monitor.alarm import Alarm
from modelworks.monitor.drift.rule import Drift
from modelworks.monitor.value import Payoff, Value
from modelworks.registry.approval import Approval, LargeChange
from modelworks.registry.gates import needed
from modelworks.registry.gates.evidence import Need
from modelworks.registry.gates.port import Gate
from modelworks.train.environment import code_digest
from modelworks.train.tune import Tune

_DOUBLED = 10
"""How often a cool-down can be doubled: a thousand times as long."""


@dataclass(frozen=True)
class Model:
    """A definition with the rules by which its versions are judged, brought out and renewed.

    Attributes:
        definition: What to fit on what.
        gates: Tests that every candidate must pass.
        strategy: How a passed candidate replaces the champion.
        policy: When to retrain.
        approval: ``"auto"``, or ``"manual"`` where a person has to approve what passed its gates; or, where only
            large changes are asked for, what is large.
        value: What its predictions are worth, if that is known.
        tune: How its parameters are searched, if they are.
        control: The share of its traffic that it does not serve, if there is one.
        inputs: What is done with rows that hold what the training did not see.
        log: What of its answers is kept.
        drift: How large a shift must be to be told of.
        alarms: Rules of its own for alerts.
    """

    definition: Definition
    gates: tuple[Gate, ...]
    strategy: Strategy
    policy: Policy
    approval: Approval
    value: Value | None
    tune: Tune | None = None
    control: Holdout | None = None
    inputs: Inputs = field(default_factory=Inputs)
    log: Log = field(default_factory=Log)
    drift: Drift = field(default_factory=Drift)
    alarms: tuple[Alarm, ...] = ()

    @property
    def needs(self) -> tuple[Need[Any], ...]:
        """What its gates, and who approves, want to be looked at of a candidate."""
        asks = [self.approval] if isinstance(self.approval, LargeChange) else []
        return tuple(dict.fromkeys([*needed(self.gates), *(need for one in asks for need in one.needs)]))

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.definition.name

    @property
    def payoff(self) -> Payoff | None:
        """What each kind of its answers is worth, if that is how its value is counted."""
        return self.value if isinstance(self.value, Payoff) else None


@dataclass(frozen=True)
class Project:
    """What a project defines, by name.

    Attributes:
        sources: The code that defines it: path to text.
    """

    root: Path
    datasets: Mapping[str, Dataset]
    models: Mapping[str, Model]
    sources: Mapping[str, str] = field(default_factory=dict)

    def model(self, name: str) -> Model:
        """The model of that name.

        Raises:
            NotFound: the project defines none; the message lists those it does.
        """
        if name not in self.models:
            raise NotFound(
                f"there is no model {name!r} in {self.root / 'factory.py'}",
                f"it defines {', '.join(self.models) or 'none'}",
                "use one of these, or define it with @mw.model",
            )
        return self.models[name]

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name.

        Raises:
            NotFound: the project defines none; the message lists those it does.
        """
        if name not in self.datasets:
            raise NotFound(
                f"there is no dataset {name!r} in {self.root / 'factory.py'}",
                f"it defines {', '.join(self.datasets) or 'none'}",
                "use one of these, or define it with mw.Dataset",
            )
        return self.datasets[name]


def model(
    *,
    dataset: Dataset,
    target: str,
    features: Sequence[str],
    per: Sequence[str] = (),
    min_rows: int = 100,
    metrics: Sequence[str] = (),
    gate: Sequence[Gate] = (),
    rollout: Strategy | None = None,
    retrain: Sequence[Trigger] = (),
    cooldown: str = "1d",
    backoff: int = 3,
    siblings: bool = False,
    budget: Budget | None = None,
    approval: Approval = "auto",
    value: Value | None = None,
    control: Holdout | None = None,
    inputs: Inputs | None = None,
    log: Log | None = None,
    drift: Drift | None = None,
    alarms: Sequence[Alarm] = (),
    holdout: float = 0.2,
    window: str | None = None,
    params: Mapping[str, Any] | None = None,
    tune: Tune | None = None,
    learn: Learn = "scratch",
    checkpoint: int | str = 500,
    retries: int | None = None,
    limit: str | None = None,
    name: str | None = None,
) -> Callable[[Fit], Model]:
    """Make a model of a function ``fit(X, y, params)`` that returns a fitted estimator.

    Args:
        dataset: What it learns from.
        target: Column to be predicted.
        features: Columns it may see; only what is known at the time of the prediction.
        per: Columns whose values make the segments, outermost first: one model for each segment, and parents
            up to one global model for the rest.
        min_rows: Rows a segment needs for a model of its own.
        metrics: Names of the metrics to record, the first being the main one.
        gate: Tests that every candidate must pass.
        rollout: How a passed candidate replaces the champion; at once by default.
        retrain: When to retrain; without a trigger only by hand.
        cooldown: Least time between two trainings of one segment.
        backoff: How often that time is doubled at most while nothing comes of a segment's trainings; 0 for never.
        siblings: Whether a segment that decays or drifts takes those siblings along that share its reason, though
            they cannot say so by themselves.
        budget: What retraining may spend in a day; anything by default.
        approval: ``"manual"`` where a person has to approve what passed its gates; ``mw.LargeChange(...)`` where
            only a large change is asked for.
        value: What its predictions are worth: ``mw.Payoff(...)``, or ``mw.Worth(function)``.
        control: The share of its traffic that it does not serve, to know what it is worth.
        inputs: What is done with requests that hold what the training did not see; by default they are answered,
            and what is odd is said.
        log: What of its answers is kept; by default all.
        drift: How large a shift of its inputs or answers must be to be told of, and from what; by default a PSI of
            0.2 from the training.
        alarms: Alerts by rules of yours, ``mw.Alarm(name, rule)``, besides those of the house.
        holdout: Share of the rows, the newest, that judges instead of teaching.
        window: How far back training looks, for instance ``"120d"``; everything by default.
        params: Passed to the function.
        tune: How `modelworks tune` searches for better ones, which trainings then use.
        learn: ``"warm"`` where the function goes on from the champion, ``fit(X, y, params, previous)``, on all
            rows; ``"incremental"`` where it does so on the rows alone that the champion has not seen. `previous`
            is ``None`` where there is none, or where definition or features have changed. ``"online"`` where the
            model, one of River's, learns from each outcome as it comes after the function has begun it.
        checkpoint: With ``learn="online"``: how many outcomes, or which time (``"6h"``), until what was learned is a
            version that goes through the gates.
        retries: How often a segment is begun again whose worker died, or whose fit raised what passes (a connection
            that broke, a time-out); as the setting ``train.retries`` says by default.
        limit: How long a segment may take, for instance ``"10m"``, before it is ended and given up; as the setting
            ``train.limit`` says by default.
        name: Name of the model; the function's by default.

    Raises:
        Invalid: the definition contradicts itself or its dataset's contract.
    """

    def define(fit: Fit) -> Model:
        label = check_name(name or fit.__name__, "model name")
        columns = {target: "target", **dict.fromkeys(features, "features"), **dict.fromkeys(per, "per")}
        for column, role in columns.items():
            if column not in dataset.contract and not (role == "features" and column in dataset.features):
                raise Invalid(
                    f"{role} of model {label!r} names the column {column!r}",
                    f"dataset {dataset.name!r} has {', '.join([*dataset.contract, *dataset.features])}",
                    "correct the name, or add the column to the contract",
                )
        for column in per:
            if dataset.contract[column].sensitive:
                raise Invalid(
                    f"model {label!r} cannot be split by {column!r}",
                    "the column is sensitive, and segments are named in the log",
                    "split it by another, or let the column be logged",
                )
        if target in features:
            raise Invalid(
                f"model {label!r} has its target {target!r} among its features", "", "take it out of features"
            )
        if not features:
            raise Invalid(f"model {label!r} has no features", "", "name at least one column in features")
        if not 0 < holdout < 1:
            raise Invalid(
                f"holdout of model {label!r} is {holdout}",
                "it is a share of the rows",
                "use a number between 0 and 1",
            )
        if dataset.time is None:
            raise Invalid(
                f"dataset {dataset.name!r} of model {label!r} has no time column",
                "what is held out to judge a model is its newest rows",
                "name the column of the event time with time= in mw.Dataset",
            )
        for metric in metrics:
            METRICS[metric]
        for length in (window, limit):
            if length is not None:
                duration(length)
        if retries is not None and retries < 0:
            raise Invalid(f"model {label!r} has {retries} retries", "", "use 0 or a number above")
        if approval not in ("auto", "manual") and not isinstance(approval, LargeChange):
            raise Invalid(
                f"model {label!r} has the approval {approval!r}",
                "",
                'use "auto", "manual" or mw.LargeChange(...)',
            )
        if not 0 <= backoff <= _DOUBLED:
            raise Invalid(f"model {label!r} has a backoff of {backoff}", "", f"use 0 to {_DOUBLED}")
        if learn not in get_args(Learn):
            raise Invalid(f"model {label!r} learns {learn!r}", "", f"use one of {', '.join(get_args(Learn))}")
        if learn == "online":
            _online(label, dataset, features, checkpoint)
        if tune is not None and not (tune.metric or metrics):
            raise Invalid(
                f"model {label!r} is to be tuned, but nothing says what is better",
                "it has no metrics",
                'name some, metrics=["log_loss"], or mw.Tune(..., metric="log_loss")',
            )
        twice = [one for one, times in Counter(alarm.name for alarm in alarms).items() if times > 1]
        if twice:
            raise Invalid(f"model {label!r} has two alarms named {twice[0]!r}", "", "give each its own name")
        sticky = [rollout.to_json().get("by") if rollout else None, control.by if control else None]
        for column in (name for name in sticky if name is not None):
            if column not in dataset.contract:
                raise Invalid(
                    f"requests of model {label!r} are to stick by the column {column!r}",
                    f"dataset {dataset.name!r} has {', '.join(dataset.contract)}",
                    "correct the name, or add the column to the contract",
                )
        for column in (name for need in needed(gate) for name in need.columns):
            if column not in dataset.contract and column not in dataset.features:
                raise Invalid(
                    f"a gate of model {label!r} looks at the column {column!r}",
                    f"dataset {dataset.name!r} has {', '.join([*dataset.contract, *dataset.features])}",
                    "correct the name, or add the column to the contract",
                )
        definition = Definition(
            label,
            dataset.name,
            target,
            tuple(features),
            fit,
            tuple(per),
            min_rows,
            tuple(metrics),
            holdout,
            window,
            dict(params or {}),
            {name: to_json(dataset.features[name]) for name in features if name in dataset.features},
            retries,
            limit,
            learn,
            checkpoint,
        )
        made = Model(
            replace(definition, code=code_digest(definition)),
            tuple(gate),
            rollout or Direct(),
            Policy(
                tuple(retrain),
                duration(cooldown),
                backoff=backoff,
                budget=budget or Budget(),
                siblings=siblings,
            ),
            approval,
            value,
            tune,
            control,
            inputs or Inputs(),
            log or Log(),
            drift or Drift(),
            tuple(alarms),
        )
        note(made)
        return made

    return define


def _online(label: str, dataset: Dataset, features: Sequence[str], checkpoint: int | str) -> None:
    """Refuse what could not be learned from the log.

    Raises:
        Invalid: a feature is not in the log as it was sent, or `checkpoint` is neither a number nor a time.
    """
    for name in features:
        if name in dataset.features or dataset.contract[name].sensitive:
            what = "computed" if name in dataset.features else "sensitive"
            raise Invalid(
                f"model {label!r} cannot learn online from {name!r}",
                f"the column is {what}, so the log does not hold it",
                'leave it out of features, or use learn="incremental", which reads the dataset',
            )
    if isinstance(checkpoint, str):
        duration(checkpoint)
    elif checkpoint < 2:
        raise Invalid(
            f"model {label!r} has a checkpoint after {checkpoint} outcomes",
            "a loss of fewer than two rows says nothing",
            "use some hundred",
        )

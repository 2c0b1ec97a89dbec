"""Will this flight arrive more than 15 minutes late? A model for every route of every airline."""

from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import modelworks as mw

flights = mw.Dataset(
    "flights",
    source=mw.Files("data/flights/*.parquet"),
    key="flight_id",
    time="sched_dep",
    contract={
        "flight_id": str,
        "sched_dep": mw.Time(),
        "carrier": str,
        "origin": mw.Text(allowed=["EWR", "JFK", "LGA"]),
        "dest": str,
        # All of these are known an hour before the departure.
        "weekday": mw.Text(allowed=["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]),
        "hour": mw.Number(min=0, max=24),
        "past_noon": mw.Number(min=0, max=12),
        "distance": mw.Number(min=0),
        "age": mw.Number(min=0, max=100, nullable=True),
        "seats": mw.Number(min=1, nullable=True),
        "temp": mw.Number(nullable=True),
        "humid": mw.Number(min=0, max=100, nullable=True),
        "wind_speed": mw.Number(min=0, nullable=True),
        "precip": mw.Number(min=0, nullable=True),
        "pressure": mw.Number(nullable=True),
        "visib": mw.Number(min=0, nullable=True),
        "recent_delay": mw.Number(nullable=True),
        "recent_departures": mw.Number(min=0, nullable=True),
        # What is to be foretold.
        "late": mw.Number(min=0, max=1, integer=True),
    },
)

NUMBERS = [
    "hour", "past_noon", "distance", "age", "seats", "temp", "humid", "wind_speed", "precip", "pressure",
    "visib", "recent_delay", "recent_departures",
]  # fmt: skip


@mw.model(
    dataset=flights,
    target="late",
    features=["weekday", *NUMBERS],
    per=["carrier", "origin", "dest"],
    min_rows=100,
    metrics=["log_loss", "roc_auc"],
    gate=[mw.BeatsChampion("log_loss")],
    retrain=[mw.Every("28d"), mw.OnDecay("log_loss", by=0.10), mw.OnDrift(features=4, psi=1.0)],
    cooldown="14d",
    holdout=0.1,
    params={"C": 0.03},
    value=mw.Payoff(tp=40, fp=-15, fn=0, tn=0, unit="EUR"),
)
def delay(X, y, params):
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore"), ["weekday"]),
    )
    return make_pipeline(columns, LogisticRegression(C=params["C"], max_iter=200)).fit(X, y)

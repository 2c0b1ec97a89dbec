"""The ledger's tables: small facts and decisions, never rows of data."""

from modelworks.stores.ledger.tables.data import (
    cursors,
    dataset_pins,
    dataset_profiles,
    dataset_tags,
    dataset_versions,
    datasets,
    forgotten,
    ingested,
    ingests,
)
from modelworks.stores.ledger.tables.experiments import experiments, logged_models, run_links
from modelworks.stores.ledger.tables.kinds import Utc, metadata
from modelworks.stores.ledger.tables.labels import arrivals, labels
from modelworks.stores.ledger.tables.loop import (
    alerts,
    decisions,
    leases,
    notices,
    truths,
    watermarks,
    windows,
)
from modelworks.stores.ledger.tables.models import (
    aliases,
    checkpoints,
    deployment_history,
    deployments,
    model_versions,
    models,
    verdicts,
)
from modelworks.stores.ledger.tables.rollouts import rollout_steps, rollouts, servers
from modelworks.stores.ledger.tables.runs import (
    campaigns,
    run_journals,
    run_points,
    run_values,
    runs,
    searches,
    tuned,
)
from modelworks.stores.ledger.tables.trail import audit, edges, exported, keys, spent, tokens
from modelworks.stores.ledger.tables.value import earnings, segment_earnings, usage

__all__ = [
    "Utc",
    "alerts",
    "aliases",
    "arrivals",
    "audit",
    "campaigns",
    "checkpoints",
    "cursors",
    "dataset_pins",
    "dataset_profiles",
    "dataset_tags",
    "dataset_versions",
    "datasets",
    "decisions",
    "deployment_history",
    "deployments",
    "earnings",
    "edges",
    "experiments",
    "exported",
    "forgotten",
    "ingested",
    "ingests",
    "keys",
    "labels",
    "leases",
    "logged_models",
    "metadata",
    "model_versions",
    "models",
    "notices",
    "rollout_steps",
    "rollouts",
    "run_journals",
    "run_links",
    "run_points",
    "run_values",
    "runs",
    "searches",
    "segment_earnings",
    "servers",
    "spent",
    "tokens",
    "truths",
    "tuned",
    "usage",
    "verdicts",
    "watermarks",
    "windows",
]

"""When to retrain: triggers, the policy that weighs them, the decisions that are kept."""

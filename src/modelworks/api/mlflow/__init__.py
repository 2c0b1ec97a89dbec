"""MLflow's door: its REST protocol, spoken to unmodified clients, over the runs and models of the house.

Source: https://mlflow.org/docs/latest/rest-api.html, and what the client of MLflow 3 sends.
"""

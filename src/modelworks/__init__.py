"""Modelworks: a model factory in one package."""

__version__ = "0.1.0"

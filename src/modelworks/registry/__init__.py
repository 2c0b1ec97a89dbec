"""Immutable model versions, their aliases, and the gates that judge them."""

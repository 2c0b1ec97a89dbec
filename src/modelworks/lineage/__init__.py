"""Lineage: what was made from what, noted at the moment it is made."""

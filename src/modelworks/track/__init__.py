"""Tracking: what runs say of themselves, kept from the call on; found again, compared, drawn."""

"""Which version should answer for which segment: the desired state, and how it changes."""

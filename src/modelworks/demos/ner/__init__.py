"""Named entities while somebody types: a model as a service, and a small application that calls it."""

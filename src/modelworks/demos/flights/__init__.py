"""New York's departures of 2013: will this flight arrive more than 15 minutes late? A year of real flights."""

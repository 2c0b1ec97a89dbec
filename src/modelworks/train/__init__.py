"""The making line: from rows to candidates, one a segment."""

"""Metrics, intervals, tests of significance, and what makes a score mean less than it seems to."""

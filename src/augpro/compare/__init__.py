"""A grid of runs, side by side, and what their differences show."""

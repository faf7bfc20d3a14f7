"""A run's result and its folder: what is stored, under which names, and how it is shown."""

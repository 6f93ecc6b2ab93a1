"""Models, families, tasks and heads that are known by name, as frozen rows."""

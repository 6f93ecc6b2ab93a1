"""What hftool knows by name: models, families and tasks, as frozen rows. Data only; see `models` and `tasks`."""

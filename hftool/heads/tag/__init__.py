"""The `tag` head."""

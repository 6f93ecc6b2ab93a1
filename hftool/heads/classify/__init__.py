"""The `classify` head."""

"""The `embed` head."""

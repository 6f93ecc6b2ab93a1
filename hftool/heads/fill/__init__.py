"""The `fill` head."""

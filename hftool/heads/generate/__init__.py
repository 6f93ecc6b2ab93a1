"""The `generate` head."""

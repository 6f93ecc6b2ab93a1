"""The `answer` head."""

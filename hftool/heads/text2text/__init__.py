"""The `text2text` head."""

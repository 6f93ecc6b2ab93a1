"""Inference: encoded rows to answers, in order."""

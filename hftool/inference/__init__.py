"""Features through an engine to answers, in order."""

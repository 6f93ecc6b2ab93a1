"""Files on disk: the run folder, writes that a crash cannot cut in two, JSON documents checked against a schema."""

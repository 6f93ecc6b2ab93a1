"""Files on disk: the run folder, crash-safe writes, SHA-256 checksums, and JSON documents validated against a schema."""

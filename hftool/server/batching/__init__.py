"""Dynamic batching: a queue of rows from many requests, computed together."""

"""The server: requests over HTTP, gathered into batches, answered by the same predictor as everywhere else."""

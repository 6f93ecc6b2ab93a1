"""Training: the loop, checkpoints, and several processes."""

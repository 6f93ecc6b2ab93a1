"""From files and data sets to rows, and from features to batches."""

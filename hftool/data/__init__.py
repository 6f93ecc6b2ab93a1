"""Files and data sets to rows, labels and splits; features to batches."""

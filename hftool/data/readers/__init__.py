"""File formats to rows: CSV, TSV, JSON, Parquet, Arrow, CoNLL, SQuAD and plain text."""

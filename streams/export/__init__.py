"""Out again: outcomes, minutes and examples for training, as partitioned Parquet files. Begin with `tables`."""

"""Any data source -> token ids in fixed-shape batches, on the host."""

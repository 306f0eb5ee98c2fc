"""The processes that do the work: inference in micro-batches, and training."""

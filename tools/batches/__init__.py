"""Load tests of large batches on a local stack."""

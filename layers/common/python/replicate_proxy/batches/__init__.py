"""Large batches: their predictions come from an uploaded file, and their results are a file again."""

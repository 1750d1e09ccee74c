"""The hosted models: what a model is, what each one does, and the catalog of all."""

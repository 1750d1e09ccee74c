"""Everything that helps to develop, run and release the service; nothing of it ships in the layer."""

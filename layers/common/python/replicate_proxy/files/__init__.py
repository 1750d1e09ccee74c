"""Input files: uploaded by a tenant, fetched by Replicate through a signed address, gone after a day."""

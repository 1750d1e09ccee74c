"""Input files: uploaded by a tenant, fetched by Replicate through a signed URL, deleted after a day."""

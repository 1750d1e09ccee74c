"""The local stack: an emulated AWS, a local Replicate and the proxy deployed between them."""

"""The models this Replicate hosts: a small catalogue covering every output shape met among public models."""

"""One use case a module; dependencies come by constructor."""

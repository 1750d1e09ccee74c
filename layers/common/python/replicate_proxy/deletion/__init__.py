"""Delete ended jobs with everything that belongs to them: for callers, operators, and by retention."""

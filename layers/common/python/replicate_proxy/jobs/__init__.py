"""Jobs: their records, the changes that can happen to them, the state machine, and the timeouts."""

"""The groups of commands, in modules like those of the admin API."""

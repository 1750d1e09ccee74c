"""The admin API. Every route requires the scope `admin`."""

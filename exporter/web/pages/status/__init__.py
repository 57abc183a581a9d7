"""The status page, and the status as JSON."""

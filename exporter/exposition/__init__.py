"""Renders snapshots and encodes them as scrape responses."""

"""From snapshots to the body of a scrape response."""

"""Lists: their pages, single objects, and changes to these."""

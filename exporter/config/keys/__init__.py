"""API keys from files: one key, or one for each account."""

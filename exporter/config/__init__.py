"""Settings, API keys, and reloading them."""

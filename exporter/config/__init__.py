"""Settings, API keys and their reload."""

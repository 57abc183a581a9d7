"""The commands: serve, poll once, check the configuration, check the access."""

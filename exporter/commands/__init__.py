"""What the command line can do: serve, poll once, check the configuration."""

"""A configuration observer for tests."""


class Recorder:
    """Records each event as a pair: the source, and its load time or None for a failure."""

    def __init__(self):
        self.events = []

    def record_config_loaded(self, source, at):
        """Record a success."""
        self.events.append((source, at))

    def record_config_error(self, source):
        """Record a failure."""
        self.events.append((source, None))

"""Who is told how reading configuration went."""


class Recorder:
    """Remembers what it is told: sources, each with a time, or with None for a failure."""

    def __init__(self):
        self.told = []

    def record_config_loaded(self, source, at):
        """Take a success."""
        self.told.append((source, at))

    def record_config_error(self, source):
        """Take a failure."""
        self.told.append((source, None))

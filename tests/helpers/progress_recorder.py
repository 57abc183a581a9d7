"""Records the progress of reading."""


class ProgressRecorder:
    """Records pairs of parts that were read and their total, and `end`."""

    def __init__(self):
        self.events = []

    def record_progress(self, done, total):
        """Record the parts that were read, and their total."""
        self.events.append((done, total))

    def record_end(self):
        """Record the end."""
        self.events.append("end")

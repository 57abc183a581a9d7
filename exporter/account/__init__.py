"""An account: its collectors, and the cached result of each."""

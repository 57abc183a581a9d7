"""Values of the settings of the HTTP server: addresses, paths and URLs."""

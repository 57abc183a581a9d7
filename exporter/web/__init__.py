"""The HTTP server: routes, limits, TLS and authentication."""

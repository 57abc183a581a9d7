"""The HTTP server: routes, status page, TLS, authentication."""

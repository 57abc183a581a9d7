"""Endpoints below `/connections`, and the registrations of connections."""

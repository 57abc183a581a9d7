"""Reads lists of the Telnyx API: pages, rows, and a consistent whole."""

"""Reads the indexes of the pages of all lists."""

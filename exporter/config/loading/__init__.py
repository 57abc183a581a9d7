"""Reads what the user set: flags, environment variables and a `.env` file. Errors are one-line `ValueError`s."""

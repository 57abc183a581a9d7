"""Reads the settings of the user: flags, environment variables and a `.env` file. Errors are one-line `ValueError`s."""

"""The fields of the rows of each list, with their possible values."""

"""The Telnyx API: requests, lists, errors. Collectors define what the rows contain."""

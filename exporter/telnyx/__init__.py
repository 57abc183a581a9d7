"""The Telnyx API: requests, lists, pages and rows. Collectors define what the rows contain."""

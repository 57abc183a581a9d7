"""The Telnyx resources that are exposed, one module for each."""

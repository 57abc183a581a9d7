"""The Telnyx resources that the exporter reads, one module per resource, and their metrics."""

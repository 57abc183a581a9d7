"""What people see of the exporter: its state, what needs attention, the connections, and what changed."""

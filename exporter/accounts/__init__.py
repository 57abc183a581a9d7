"""Several Telnyx accounts, and how exporters share them."""

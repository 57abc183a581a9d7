"""HTTP requests to the Telnyx API, over TLS and through proxies. No other package uses httpx."""

"""The server: listening sockets, connections with limits on what a client can use, TLS and HTTP."""

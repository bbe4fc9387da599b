"""HTTP: the ASGI app, its routes, and the request formats of each API."""

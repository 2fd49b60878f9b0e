"""Yardmaster's server: the document kernel, the planes, the gateway and the services."""

"""The gateway: everything between a caller's `/v1/*` request and a model provider."""

"""The gateway's modules: what happens to a call between its caller and its provider."""

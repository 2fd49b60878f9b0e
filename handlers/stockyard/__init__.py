"""Handlers of the Stockyard dialect: the gateway's control plane."""

"""The domain: what handlers ask for, whatever the dialect."""

"""Modules that look at finished calls where these are stored: no call waits for them, and every worker's are seen."""

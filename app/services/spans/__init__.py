"""Finished model calls as spans of distributed traces."""

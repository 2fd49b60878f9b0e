"""Calls this server makes to others, and where it refuses to go."""

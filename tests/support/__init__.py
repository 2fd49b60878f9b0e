"""What tests stand on: databases, callers, refusals and running servers."""

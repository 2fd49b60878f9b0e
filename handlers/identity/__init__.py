"""Handlers of operations that belong to several systems at once."""

"""The handlers of the miniature document."""

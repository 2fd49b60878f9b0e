"""The document: joined from its parts, woven, linted, and read as operations."""

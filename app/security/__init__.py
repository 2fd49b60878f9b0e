"""Who is calling, and the secrets that prove it."""

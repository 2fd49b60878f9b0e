"""What a call needs before it goes out to a provider of this server: a place among its calls, a key of its pool."""

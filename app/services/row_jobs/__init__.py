"""Jobs over rows: what each type accepts, does to rows and gives back. Storage and execution are elsewhere."""

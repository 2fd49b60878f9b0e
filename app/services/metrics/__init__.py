"""What all workers of this machine counted, in one answer."""

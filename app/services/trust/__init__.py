"""Trust: policies on model calls, and the evidence that they were kept."""

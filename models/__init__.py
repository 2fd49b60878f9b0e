"""What is stored: typed models, one module per domain, and the migrations that make their tables."""

"""The program that listens: a master that keeps workers alive, and in each of them one HTTP server on one loop."""

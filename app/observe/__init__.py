"""How the server is watched while it runs."""

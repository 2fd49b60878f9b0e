"""What runs on a box: takes jobs from a server, runs them, and reports. It talks HTTP and shares no code with it."""

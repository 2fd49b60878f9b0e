"""One thin function per operation, in a module per group."""

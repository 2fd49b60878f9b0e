"""Wiping: what calls said is let go once it is past the age that the operator set, and the ledger tells of it."""

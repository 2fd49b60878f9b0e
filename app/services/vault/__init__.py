"""The vault: what is stored of calls, sealed under a key that the operator keeps outside and can withdraw."""

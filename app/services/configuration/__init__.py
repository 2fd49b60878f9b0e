"""The configuration as one document: shown, changed, exported, imported and compared.

A section is an entry of `SECTIONS` in `snapshot`, and of `APPLIED` in `changes`: what a domain lets operators configure
belongs there.
"""

"""SSH public keys as OpenSSH writes them: which ones sshd should be given, and how each is known."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

FORMS = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
LEAST_RSA_BITS = 2048
LONGEST = 8192


def read_public_key(text: str) -> tuple[str, str]:
    """The key as one line, and its fingerprint as `ssh-keygen -l` writes it; ValueError for what sshd should not take.

    Ed25519, ECDSA, and RSA of 2048 bits and more; no options before it, no control characters in its comment.
    """
    parts = text.split()
    try:
        key = load_ssh_public_key(" ".join(parts[:2]).encode())
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    form, blob = line.split()
    if form not in FORMS or (isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS):
        raise ValueError(f"a key of the form {form} is not taken")
    digest = hashlib.sha256(b64decode(blob)).digest()
    return " ".join([line, *parts[2:]])[:LONGEST], "SHA256:" + b64encode(digest).decode().rstrip("=")


def is_public_key(text: str) -> bool:
    """Whether `read_public_key` takes it; a NUL cannot be stored."""
    try:
        read_public_key(text)
    except ValueError:
        return False
    return "\0" not in text

"""The digest at the head of a file, by which it shows that it is damaged or not complete."""

from hashlib import blake2b

DIGEST_SIZE = 16  # bytes


def digest_of(data):
    """Return the BLAKE2b digest of bytes."""
    return blake2b(data, digest_size=DIGEST_SIZE).digest()

"""The digest of a message or a file, which shows whether it is another, damaged or not complete."""

from hashlib import blake2b

DIGEST_SIZE = 16  # bytes


def digest_of(data):
    """Return the BLAKE2b digest of bytes."""
    return blake2b(data, digest_size=DIGEST_SIZE).digest()

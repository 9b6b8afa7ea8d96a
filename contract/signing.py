"""Signatures (Ed25519, RFC 8032): whoever holds the public key can check them, the server's secret alone makes them."""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)


class NoKey(ValueError):
    """The bytes hold no key of the kind that is wanted; the message says what they hold."""


class PublicKey:
    """What a signature is checked with. `id` names the key in messages: 16 hexadecimal digits."""

    def __init__(self, key: Ed25519PublicKey):
        self._key = key
        self.id = hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether the secret of this key signed exactly this message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """SubjectPublicKeyInfo, as openssl reads it."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class SigningKey:
    """The secret. Nothing prints it."""

    def __init__(self, key: Ed25519PrivateKey):
        self._key = key
        self.public = PublicKey(key.public_key())

    def __repr__(self) -> str:
        return f"SigningKey({self.public.id})"

    def sign(self, message: bytes) -> bytes:
        """64 bytes, the same for the same message."""
        return self._key.sign(message)

    def pem(self) -> bytes:
        """PKCS #8 without a password, as `openssl genpkey -algorithm ed25519` writes it."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_key() -> SigningKey:
    """A fresh secret."""
    return SigningKey(Ed25519PrivateKey.generate())


def signing_key(pem: bytes) -> SigningKey:
    """The secret in a PEM file's content; NoKey where there is none."""
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise NoKey("it is encrypted with a password, which nobody can be asked for") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NoKey("it holds no private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise NoKey("it holds a private key of another kind than Ed25519")
    return SigningKey(key)


def public_key(pem: bytes) -> PublicKey:
    """The public key in a PEM file's content; NoKey where there is none."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NoKey("it holds no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise NoKey("it holds a public key of another kind than Ed25519")
    return PublicKey(key)


def sealed(key: SigningKey, message: bytes) -> str:
    """A signature as it is stored beside what it is of: the key's id, and the signature in base64."""
    return f"{key.public.id}:{base64.b64encode(key.sign(message)).decode()}"


def flaw(key: PublicKey, message: bytes, seal: str | None) -> str | None:
    """What is wrong with a stored signature, in words that follow "it"; None where it is this key's."""
    if seal is None:
        return "carries no signature"
    signer, _, signature = seal.partition(":")
    if signer != key.id:
        return f"is signed with another key, {signer[:16]}"
    try:
        good = key.verifies(message, base64.b64decode(signature, validate=True))
    except binascii.Error:
        good = False
    return None if good else "carries a WRONG signature"

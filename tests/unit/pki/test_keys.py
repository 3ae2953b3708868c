"""Types of keys, weak keys, lists of compromised keys. The corpus of hostile requests holds more weak keys."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quicklime.errors import Code, Refused
from quicklime.pki.keys import BlockedKeys, PublicKey, check_key, check_rsa, key_type, load_key
from vectors import requests

RSA = rsa.generate_private_key(65537, 2048).public_key()
KEYS: dict[str, PublicKey] = {
    "ecdsa-p256": ec.generate_private_key(ec.SECP256R1()).public_key(),
    "ecdsa-p384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "rsa-2048": RSA,
    "rsa-3072": rsa.generate_private_key(65537, 3072).public_key(),
    "ed25519": ed25519.Ed25519PrivateKey.generate().public_key(),
    "ml-dsa-44": mldsa.MLDSA44PrivateKey.generate().public_key(),
    "ml-dsa-65": mldsa.MLDSA65PrivateKey.generate().public_key(),
    "ml-dsa-87": mldsa.MLDSA87PrivateKey.generate().public_key(),
}


def spki_of(public_key: PublicKey) -> bytes:
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("name", KEYS)
def test_good_keys_pass_under_their_name(name: str) -> None:
    spki = spki_of(KEYS[name])
    loaded = load_key(spki)
    assert key_type(loaded) == name
    assert check_key(loaded, spki) == name


@pytest.mark.parametrize(
    "public_key",
    [
        ec.generate_private_key(ec.SECP521R1()).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ed448.Ed448PrivateKey.generate().public_key(),
        x25519.X25519PrivateKey.generate().public_key(),
        dsa.generate_private_key(2048).public_key(),
    ],
)
def test_other_types_are_refused(public_key: PublicKey) -> None:
    for judge in (lambda: key_type(public_key), lambda: load_key(spki_of(public_key))):
        with pytest.raises(Refused) as caught:
            judge()
        assert caught.value.code == Code.KEY_TYPE_NOT_ALLOWED


@pytest.mark.parametrize(
    ("exponent", "fit"),
    [
        (3, False),
        (65535, False),
        (65536, False),
        (65537, True),
        (65539, True),
        ((1 << 256) - 1, True),
        ((1 << 256) + 1, False),
        (-65537, False),
    ],
)
def test_exponents(exponent: int, *, fit: bool) -> None:
    modulus = RSA.public_numbers().n
    if fit:
        check_rsa(modulus, exponent)
        return
    with pytest.raises(Refused, match="exponent"):
        check_rsa(modulus, exponent)


@pytest.mark.parametrize("bits", [1024, 2040, 2047, 2049, 4095, 8200])
def test_sizes(bits: int) -> None:
    with pytest.raises(Refused, match="bits"):
        check_rsa(requests.number("size", bits) | 1, 65537)


def test_primes_that_are_close_are_found_and_others_are_not() -> None:
    first = requests.prime("close", 1024)
    # Fermat's method needs about (q - p)^2 / (8 * sqrt(n)) rounds: one, some, and far too many
    for distance, found in ((1 << 10, True), (1 << 512, True), (1 << 515, True), (1 << 700, False)):
        modulus = first * requests.next_prime(first + distance)
        if not found:
            check_rsa(modulus, 65537)
            continue
        with pytest.raises(Refused, match="too close"):
            check_rsa(modulus, 65537)


def test_roca_and_small_factors_are_named() -> None:
    with pytest.raises(Refused, match="ROCA"):
        check_rsa(requests.roca_modulus(), 65537)
    with pytest.raises(Refused, match="small factor"):
        check_rsa(65521 * (requests.number("cofactor", 2048) // 65521 | 1), 65537)


def test_a_modulus_with_a_pattern_is_found() -> None:
    # as a broken generator made them: 64 random bits, then 64 zeros, and so on, the lowest chunk up to the next prime
    def sparse(seed: str) -> int:
        chunks = (requests.number(f"{seed} {place}", 16) << (128 * place) for place in range(1, 8))
        return requests.next_prime(sum(chunks) | 1 << 1023)

    with pytest.raises(Refused) as caught:
        check_rsa(sparse("p") * sparse("q"), 65537)
    assert caught.value.code == Code.KEY_WEAK


def badkeys_list(*numbers: bytes) -> bytes:
    return b"".join(sorted(sha256(one).digest()[:15] + b"\x01" for one in numbers))


@pytest.mark.parametrize("name", KEYS)
def test_keys_on_a_list_are_refused(name: str) -> None:
    public_key = KEYS[name]
    spki = spki_of(public_key)
    match public_key:
        case rsa.RSAPublicKey():
            value = public_key.public_numbers().n.to_bytes(public_key.key_size // 8, "big")
        case ec.EllipticCurvePublicKey():
            value = public_key.public_numbers().x.to_bytes(public_key.key_size // 8, "big").lstrip(b"\0")
        case ed25519.Ed25519PublicKey():
            value = public_key.public_bytes_raw().lstrip(b"\0")
        case _:
            value = public_key.public_bytes_raw()
    others = [n.to_bytes(2, "big") for n in range(500)]
    by_hash = BlockedKeys.of(["00" * 32, sha256(spki).hexdigest()])
    by_list = BlockedKeys.of(badkeys=badkeys_list(value, *others))
    for blocked in (by_hash, by_list):
        with pytest.raises(Refused) as caught:
            check_key(public_key, spki, blocked=blocked)
        assert caught.value.code == Code.KEY_COMPROMISED
    assert check_key(public_key, spki, blocked=BlockedKeys.of(["00" * 32], badkeys_list(*others))) == name


def test_every_place_in_a_list_is_found() -> None:
    for size in range(1, 9):
        numbers = [bytes([place]) for place in range(size)]
        blocked = BlockedKeys.of(badkeys=badkeys_list(*numbers))
        for number in numbers:
            # an RSA key whose modulus is that number, as the list counts it
            digest = sha256(number).digest()[:15]
            assert any(blocked.badkeys[at : at + 15] == digest for at in range(0, len(blocked.badkeys), 16))
            assert blocked.lists(number)
        assert not blocked.lists(b"another")


@pytest.mark.parametrize(
    ("hashes", "badkeys"), [(["abc"], b""), (["zz" * 32], b""), ([], b"x" * 17), ([], b"z" * 16 + b"a" * 16)]
)
def test_a_damaged_list_is_refused(hashes: list[str], badkeys: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected sorted records|no SHA-256"):
        BlockedKeys.of(hashes, badkeys)

"""Make the corpus of hostile certification requests: ``python -m vectors.make_hostile``.

Each case is a request, or what pretends to be one, with the codes of the refusal that it must meet, in their order. What it is
made of stands here; nothing is random, so that the file is the same wherever it is made (a test compares). Sizes that have no
place in a repository are written as a recipe: ``repeat`` (octets and how often, in turn) or ``nested`` (depth).
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quicklime.pki import der
from vectors.requests import (
    BASIC_CONSTRAINTS,
    ECDSA_SHA256,
    ECDSA_SHA384,
    ED25519_SPKI,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    OTHER_P256,
    P256_CURVE,
    P256_POINT,
    RSA_SHA256,
    SAN,
    SPKI,
    WEB,
    attribute,
    dns,
    ec_spki,
    ecdsa,
    extension,
    extension_request,
    for_extensions,
    for_key,
    for_names,
    for_subject,
    info,
    next_prime,
    number,
    oid,
    pem,
    prime,
    request,
    roca_modulus,
    rsa_modulus,
    rsa_spki,
    san,
    set_of,
    spki_of,
    stream,
    subject,
)

PATH = Path(__file__).parent / "hostile" / "csr.json"

MALFORMED = "csr-malformed"
SIGNATURE = "csr-signature-invalid"
ALGORITHM = "csr-algorithm-refused"
WEAK = "key-weak"
KEY_TYPE = "key-type-not-allowed"
NAME = "name-malformed"
NAME_TYPE = "name-type-refused"
EXTENSION = "extension-refused"

Made = tuple[str, bytes | dict[str, Any]]


def signatures() -> Iterator[Made]:
    what = info()
    good = ecdsa(what)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    number_of = der.children(good)
    raw = b"".join(der.contents(part).lstrip(b"\0").rjust(32, b"\0") for part in number_of)
    yield "one bit of the signature turned", request(signature=good[:-1] + bytes([good[-1] ^ 1]))
    yield "signature of another request", request(signature=ecdsa(info(attributes=())))
    yield "signature by another key", request(signature=ecdsa(what, OTHER_P256))
    yield "signature over nothing", request(signature=ecdsa(b""))
    yield "ECDSA signature of zeros", request(signature=der.sequence(der.integer(0), der.integer(0)))
    yield "ECDSA signature of r = 1, s = 1", request(signature=der.sequence(der.integer(1), der.integer(1)))
    yield (
        "ECDSA signature with s + n",
        request(
            signature=der.sequence(
                number_of[0], der.integer(int.from_bytes(der.contents(number_of[1]), "big") + order)
            )
        ),
    )
    yield "ECDSA signature as r and s side by side", request(signature=raw)
    yield "ECDSA signature with octets after it", request(signature=good + b"\0")
    yield "empty signature", request(signature=b"")
    yield "signature algorithm of another kind of key", request(algorithm=RSA_SHA256)
    yield "SHA-256 signature called SHA-384", request(algorithm=ECDSA_SHA384)
    yield (
        "Ed25519 signature of zeros",
        request(info(spki=ED25519_SPKI), der.sequence(oid("1.3.101.112")), bytes(64)),
    )
    yield "RSA signature of zeros", request(info(spki=rsa_spki(rsa_modulus("sound"))), RSA_SHA256, bytes(256))
    yield (
        "RSA signature longer than the modulus",
        request(info(spki=rsa_spki(rsa_modulus("sound"))), RSA_SHA256, b"\x01" * 512),
    )
    for size, octets in ((17, 1312), (18, 1952)):
        kind = der.sequence(oid(f"2.16.840.1.101.3.4.3.{size}"))
        yield (
            f"ML-DSA signature of zeros, parameter set {size}",
            request(
                info(spki=spki_of(kind, stream("ML-DSA", octets))), kind, bytes(2420 if size == 17 else 3309)
            ),
        )
    yield "key of a stranger put into a signed request", request(info(spki=OTHER_SPKI), signature=good)


OTHER_SPKI = ec_spki(
    P256_CURVE,
    OTHER_P256.public_key().public_numbers().x.to_bytes(32, "big").join([b"\x04", b""])
    + OTHER_P256.public_key().public_numbers().y.to_bytes(32, "big"),
)


def algorithms() -> Iterator[Made]:
    for dotted, name in (
        ("1.2.840.113549.1.1.2", "MD2 with RSA"),
        ("1.2.840.113549.1.1.4", "MD5 with RSA"),
        ("1.2.840.113549.1.1.5", "SHA-1 with RSA"),
        ("1.3.14.3.2.29", "SHA-1 with RSA, the OIW's number"),
        ("1.2.840.113549.1.1.14", "SHA-224 with RSA"),
    ):
        yield (
            name,
            request(
                info(spki=rsa_spki(rsa_modulus("sound"))), der.sequence(oid(dotted), der.NULL), bytes(256)
            ),
        )
    for dotted, name in (
        ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
        ("1.2.840.10045.4.3.1", "ECDSA with SHA-224"),
        ("2.16.840.1.101.3.4.3.2", "DSA with SHA-256"),
        ("1.3.101.113", "Ed448"),
        ("1.3.6.1.5.5.7.6.2", "the algorithm that is no signature"),
        ("1.2.3.4.5", "an algorithm that nobody knows"),
    ):
        yield name, request(algorithm=der.sequence(oid(dotted)))
    yield "ECDSA with parameters", request(algorithm=der.sequence(oid("1.2.840.10045.4.3.2"), der.NULL))
    sha1, sha256 = (der.sequence(oid(one), der.NULL) for one in ("1.3.14.3.2.26", "2.16.840.1.101.3.4.2.1"))

    def pss(*fields: bytes) -> bytes:
        kind = der.sequence(oid("1.2.840.113549.1.1.10"), der.sequence(*fields))
        return request(info(spki=rsa_spki(rsa_modulus("sound"))), kind, bytes(256))

    def mgf(hashed: bytes) -> bytes:
        return der.explicit(1, der.sequence(oid("1.2.840.113549.1.1.8"), hashed))

    salt = der.explicit(2, der.integer(32))
    yield "RSASSA-PSS with SHA-1, the default", pss()
    yield "RSASSA-PSS with a mask of SHA-1", pss(der.explicit(0, sha256), mgf(sha1), salt)
    yield "RSASSA-PSS with the default mask", pss(der.explicit(0, sha256), salt)
    yield (
        "RSASSA-PSS with a huge salt",
        pss(der.explicit(0, sha256), mgf(sha256), der.explicit(2, der.integer(1 << 40))),
    )


SHARED_PRIME = int.from_bytes(
    b64decode(
        "tQS720djHoBY2eXEDsMNGi6GWY/B37TyGO6tAgQJnweAvk5ABi3AKaOJzHQLmqpkzzh92z2FHzZpKoOiy4Eq0tt4J20zgFPiYdAG5mff"
        "TcgtMhymCXBcAaUjuZCcyYIIDdENnaP3wTPo0FEdWozb0/4+SNJ1IhlwyQGUu77mAHgr3Q2j/GqY0RSIbikmgV7NUpf6PA8JAlm2+lQQ"
        "j9YjurMI5K9BQZPRGm84E2nSe4zT2NkaKrzObH+mFd5dRlzi00FXaMF06ViYiwKgW27ef1ZCD3Z0yFZ7uaNaGAnflsOUsoaMutSkQPs0"
        "JEAVmnVkjCfpTKylM9D/B0ZjutZspQ=="
    ),
    "big",
)


def weak_keys() -> Iterator[Made]:
    sound = rsa_modulus("sound")
    for bits in (512, 1024, 2040, 2047, 2049, 8200, 16384):
        yield f"RSA key of {bits} bits", for_key(rsa_spki(number(f"RSA {bits}", bits) | 1))
    for exponent in (1, 3, 65535, 65536):
        yield f"RSA exponent {exponent}", for_key(rsa_spki(sound, exponent))
    yield "RSA exponent 0", for_key(rsa_spki(sound, 0))
    yield "RSA exponent of 257 bits", for_key(rsa_spki(sound, (1 << 256) + 1))
    yield "RSA exponent as long as the modulus", for_key(rsa_spki(sound, sound - 2))
    yield "even RSA modulus", for_key(rsa_spki(number("even", 2048) & ~1))
    for factor in (3, 751, 65537):
        cofactor = number(f"beside {factor}", 2048) // factor | 1
        yield f"RSA modulus with factor {factor}", for_key(rsa_spki(factor * cofactor))
    first = prime("close", 1024)
    yield "RSA primes next to each other", for_key(rsa_spki(first * next_prime(first + 2)))
    yield "RSA modulus that is a square", for_key(rsa_spki(first * first))
    yield (
        "RSA key with a prime that others have too, seen at crt.sh as 5534506057",
        for_key(rsa_spki(SHARED_PRIME)),
    )
    yield "RSA key of ROCA", for_key(rsa_spki(roca_modulus()))
    for name, y in (
        ("of order 1", 1),
        ("of order 2", 2**255 - 20),
        ("of order 4", 0),
        ("in another encoding of order 4", 2**255 - 19),
        ("of order 1 with the sign set", 1 | 1 << 255),
        ("out of range", 2**255 - 2),
    ):
        kind = der.sequence(oid("1.3.101.112"))
        yield f"Ed25519 key {name}", for_key(spki_of(kind, y.to_bytes(32, "little")))
    order_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
    yield "Ed25519 key of order 8", for_key(spki_of(der.sequence(oid("1.3.101.112")), order_8))


def key_types() -> Iterator[Made]:
    for name, dotted, octets in (
        ("P-192", "1.2.840.10045.3.1.1", 49),
        ("P-224", "1.3.132.0.33", 57),
        ("P-521", "1.3.132.0.35", 133),
        ("secp256k1", "1.3.132.0.10", 65),
        ("brainpoolP256r1", "1.3.36.3.3.2.8.1.1.7", 65),
        ("SM2", "1.2.156.10197.1.301", 65),
    ):
        yield f"EC key on {name}", for_key(ec_spki(dotted, b"\x04" + stream(name, octets - 1)))
    explicit = der.sequence(der.integer(1), der.sequence(oid("1.2.840.10045.1.1"), der.integer(23)))
    yield (
        "EC key with its curve written out",
        for_key(spki_of(der.sequence(oid("1.2.840.10045.2.1"), explicit), P256_POINT)),
    )
    yield (
        "EC key with the curve left to the issuer",
        for_key(spki_of(der.sequence(oid("1.2.840.10045.2.1"), der.NULL), P256_POINT)),
    )
    for name, dotted, octets in (
        ("X25519", "1.3.101.110", 32),
        ("X448", "1.3.101.111", 56),
        ("Ed448", "1.3.101.113", 57),
        ("unknown kind", "1.2.3.4.5.6", 32),
        ("ML-KEM-768", "2.16.840.1.101.3.4.4.2", 1184),
        ("SLH-DSA-SHA2-128s", "2.16.840.1.101.3.4.3.20", 32),
    ):
        yield f"key of {name}", for_key(spki_of(der.sequence(oid(dotted)), stream(name, octets)))
    numbers = der.sequence(*(der.integer(number(f"DSA {bits}", bits)) for bits in (2048, 256, 2047)))
    dsa = der.sequence(oid("1.2.840.10040.4.1"), numbers)
    yield "DSA key", for_key(spki_of(dsa, der.integer(number("DSA y", 2047))))
    sound = der.sequence(der.integer(rsa_modulus("sound")), der.integer(65537))
    yield "RSA key for RSASSA-PSS only", for_key(spki_of(der.sequence(oid("1.2.840.113549.1.1.10")), sound))


def malformed_keys() -> Iterator[Made]:
    x, y = P256_POINT[1:33], P256_POINT[33:]
    p = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
    for name, point in (
        ("off the curve", b"\x04" + x + bytes([*y[:-1], y[-1] ^ 1])),
        ("at infinity", b"\0"),
        ("at 0, 0", b"\x04" + bytes(64)),
        ("compressed", bytes([2 + (y[-1] & 1)]) + x),
        ("in the hybrid form", bytes([6 + (y[-1] & 1)]) + x + y),
        ("with a coordinate beyond the field", b"\x04" + (p + 5).to_bytes(32, "big") + y),
        ("an octet short", P256_POINT[:-1]),
        ("of the wrong curve's length", P256_POINT + bytes(32)),
        ("of no octets", b""),
    ):
        yield f"EC point {name}", for_key(ec_spki(P256_CURVE, point))
    yield "EC key without parameters", for_key(spki_of(der.sequence(oid("1.2.840.10045.2.1")), P256_POINT))
    rsa = oid("1.2.840.113549.1.1.1")
    sound = der.sequence(der.integer(rsa_modulus("sound")), der.integer(65537))
    plain = der.sequence(rsa, der.NULL)
    yield "RSA key without its NULL", for_key(spki_of(der.sequence(rsa), sound))
    yield "RSA key with parameters", for_key(spki_of(der.sequence(rsa, der.integer(5)), sound))
    yield "RSA key with octets after it", for_key(spki_of(plain, sound + b"\0\0"))
    padded = der.sequence(
        der.tlv(0x02, b"\0\0" + rsa_modulus("sound").to_bytes(256, "big")), der.integer(65537)
    )
    yield "RSA modulus with needless zeros", for_key(spki_of(plain, padded))
    yield (
        "RSA key with three numbers",
        for_key(spki_of(plain, der.sequence(*[der.integer(rsa_modulus("sound"))] * 3))),
    )
    yield "RSA key of no octets", for_key(spki_of(plain, b""))
    yield "RSA key that is text", for_key(spki_of(plain, b"ssh-rsa AAAAB3NzaC1yc2E"))
    ed25519 = oid("1.3.101.112")
    yield "Ed25519 key with a NULL", for_key(spki_of(der.sequence(ed25519, der.NULL), stream("key", 32)))
    yield "Ed25519 key of 31 octets", for_key(spki_of(der.sequence(ed25519), stream("key", 31)))
    ml_dsa = der.sequence(oid("2.16.840.1.101.3.4.3.17"))
    yield "ML-DSA key an octet short", for_key(spki_of(ml_dsa, stream("key", 1311)))
    yield "ML-DSA-44 with the key of ML-DSA-65", for_key(spki_of(ml_dsa, stream("key", 1952)))
    yield (
        "key of 519 bits",
        for_key(
            der.sequence(
                der.sequence(oid("1.2.840.10045.2.1"), oid(P256_CURVE)),
                b"\x03\x42\x01" + P256_POINT[:-1] + b"\x00",
            )
        ),
    )
    yield (
        "key in an OCTET STRING",
        for_key(
            der.sequence(
                der.sequence(oid("1.2.840.10045.2.1"), oid(P256_CURVE)), der.octet_string(b"\0" + P256_POINT)
            )
        ),
    )
    yield "no key at all", for_key(b"\x30\x00")


def malformed_names() -> Iterator[Made]:
    for text in (
        "web.internal\0.example.com",
        "web.internal\n",
        "web.internal\r\nX-Injected: 1",
        "\x1b[2Jweb.internal",
        "web.internal.",
        "web .internal",
        " web.internal",
        ".web.internal",
        "web..internal",
        "web.*.internal",
        "w*.internal",
        "*.*.internal",
        "*",
        "*.",
        "**.internal",
        "a" * 64 + ".internal",
        ".".join(["a" * 49] * 5) + ".abcd",
        "a." * 5000 + "internal",
        "",
        ".",
        "web_1.internal",
        "-web.internal",
        "web-.internal",
        "web.internal:443",
        "web.internal/path",
        "https://web.internal/",
        "ada@web.internal",
        "${jndi:ldap://web.internal}",
        "<script>alert(1)</script>.internal",
        "web.internal'; DROP TABLE certificates; --",
        "10.0.0.1",
        "fd00::1",
        "127.1",
        "0x7f.0.0.0x1",
        "web.123",
        "ab--cd.internal",
        "xn--.internal",
        "xn--a.internal",
        "xn--99999999.internal",
        "xn--web-.internal",
        "xn--wb-nlc.internal",  # Latin w, Cyrillic e, Latin b
        "xn--ls8h.internal",  # an emoji, which IDNA 2008 does not know
        "xn--a-ecp.internal",  # Arabic and Latin, against the rule of RFC 5893
    ):
        yield f"dNSName {ascii(text)[:60]}", for_names(dns(text))
    yield "dNSName of U-labels", for_names(dns("münchen.internal"))
    yield "dNSName of look-alikes", for_names(dns("w\u0435b.internal"))
    yield "dNSName turned round", for_names(dns("web\u202elanretni.internal"))
    yield "dNSName in Latin-1", for_names(dns(b"m\xfcnchen.internal"))
    yield "dNSName of stray octets", for_names(dns(bytes(range(128, 256))))
    for octets in (b"", b"\x0a\0\0\0\0", b"\x0a\0\0\0\xff\0\0\0", b"10.0.0.1", bytes(17), bytes(32)):
        yield f"iPAddress of {len(octets)} octets {octets[:1].hex()}", for_names(der.tlv(0x87, octets))
    mapped = bytes(10) + b"\xff\xff\x0a\0\0\x01"
    yield "iPAddress of IPv4 inside IPv6", for_names(der.tlv(0x87, mapped))


def other_names() -> Iterator[Made]:
    upn = oid("1.3.6.1.4.1.311.20.2.3") + der.explicit(0, der.tlv(0x0C, b"administrator@internal"))
    for name, general_name in (
        ("otherName, a user of a directory", der.tlv(0xA0, upn)),
        ("rfc822Name", der.tlv(0x81, b"root@web.internal")),
        ("x400Address", der.tlv(0xA3, b"")),
        ("directoryName", der.tlv(0xA4, subject(attribute(b"web.internal")))),
        ("ediPartyName", der.tlv(0xA5, der.tlv(0x81, b"x"))),
        ("uniformResourceIdentifier", der.tlv(0x86, b"spiffe://internal/web")),
        ("registeredID", der.tlv(0x88, der.contents(oid("1.2.3.4")))),
    ):
        yield name, for_names(dns("web.internal"), general_name)


def extensions() -> Iterator[Made]:
    everything = der.sequence(der.explicit(0, der.sequence(dns(""))))
    for name, kind, value in (
        ("basicConstraints of an authority", BASIC_CONSTRAINTS, der.sequence(der.boolean_true())),
        (
            "basicConstraints with a path length",
            BASIC_CONSTRAINTS,
            der.sequence(der.boolean_true(), der.integer(0)),
        ),
        ("keyUsage keyCertSign", KEY_USAGE, b"\x03\x02\x02\x04"),
        ("keyUsage cRLSign", KEY_USAGE, b"\x03\x02\x01\x02"),
        ("keyUsage with every bit", KEY_USAGE, b"\x03\x03\x07\xff\x80"),
        ("extendedKeyUsage OCSPSigning", EXTENDED_KEY_USAGE, der.sequence(oid("1.3.6.1.5.5.7.3.9"))),
        (
            "extendedKeyUsage any",
            EXTENDED_KEY_USAGE,
            der.sequence(oid("1.3.6.1.5.5.7.3.1"), oid("2.5.29.37.0")),
        ),
        ("nameConstraints", "2.5.29.30", everything),
        ("policyConstraints", "2.5.29.36", der.sequence(der.tlv(0x80, b"\0"))),
        ("policyMappings", "2.5.29.33", der.sequence(der.sequence(oid("1.2.3"), oid("1.2.4")))),
        ("inhibitAnyPolicy", "2.5.29.54", der.integer(0)),
        ("ocsp-nocheck", "1.3.6.1.5.5.7.48.1.5", der.NULL),
        ("CT poison", "1.3.6.1.4.1.11129.2.4.3", der.NULL),
        ("embedded SCT list", "1.3.6.1.4.1.11129.2.4.2", der.octet_string(b"\0\0")),
    ):
        yield name, for_extensions(extension(kind, value, critical=True))


def malformed_attributes() -> Iterator[Made]:
    password = der.sequence(oid("1.2.840.113549.1.9.7"), set_of(der.tlv(0x0C, b"hunter2")))
    wish = extension_request(WEB)
    microsoft = der.sequence(oid("1.3.6.1.4.1.311.2.1.14"), set_of(der.sequence(WEB)))
    twice = der.sequence(oid("1.2.840.113549.1.9.14"), set_of(der.sequence(WEB), der.sequence(WEB, WEB)))
    for name, attributes in (
        ("two extensionRequests", (wish, extension_request(san(dns("other.internal"))))),
        ("extensionRequest of PKCS #9 and of Microsoft", (microsoft, wish)),
        ("extensionRequest with two values", (twice,)),
        ("extensionRequest without a value", (der.sequence(oid("1.2.840.113549.1.9.14"), b"\x31\x00"),)),
        (
            "extensionRequest that is a string",
            (der.sequence(oid("1.2.840.113549.1.9.14"), set_of(der.tlv(0x0C, b"x"))),),
        ),
        ("two challengePasswords", (password, password)),
        ("attribute without values", (der.sequence(oid("1.2.840.113549.1.9.7")),)),
        ("attribute that is no sequence", (der.integer(5),)),
        ("seventeen attributes", tuple(der.sequence(oid(f"1.2.3.{n}"), set_of(der.NULL)) for n in range(17))),
        ("two subjectAltNames", (extension_request(WEB, san(dns("other.internal"))),)),
        (
            "sixty-five extensions",
            (extension_request(*(extension(f"1.2.3.{n}", der.NULL) for n in range(65))),),
        ),
        ("subjectAltName of no names", (extension_request(san()),)),
        (
            "subjectAltName that is a string",
            (extension_request(extension(SAN, der.tlv(0x16, b"web.internal"))),),
        ),
        ("subjectAltName of universal strings", (extension_request(san(der.tlv(0x16, b"web.internal"))),)),
        (
            "subjectAltName with octets after it",
            (extension_request(extension(SAN, der.sequence(dns("web.internal")) + b"\0")),),
        ),
        ("subjectAltName of no octets", (extension_request(extension(SAN, b"")),)),
        (
            "subjectAltName of indefinite length",
            (extension_request(extension(SAN, b"\x30\x80\x82\x01a\0\0")),),
        ),
        (
            "extension with FALSE written out",
            (extension_request(der.sequence(oid(SAN), b"\x01\x01\x00", der.octet_string(b"0\0"))),),
        ),
        ("extension without a value", (extension_request(der.sequence(oid(SAN))),)),
        (
            "extension with two values",
            (extension_request(der.sequence(oid(SAN), der.octet_string(b""), der.octet_string(b""))),),
        ),
        ("keyUsage that is no BIT STRING", (extension_request(extension(KEY_USAGE, der.integer(4))),)),
        (
            "extendedKeyUsage that is no sequence",
            (extension_request(extension(EXTENDED_KEY_USAGE, der.NULL)),),
        ),
        (
            "basicConstraints with octets after it",
            (extension_request(extension(BASIC_CONSTRAINTS, b"\x30\x00\x00")),),
        ),
    ):
        yield name, request(info(attributes=attributes))


def subjects() -> Iterator[Made]:
    for name, whose in (
        ("a thousand names", subject(*[attribute(b"web")] * 600)),
        ("thirty-three names", subject(*[attribute(b"web")] * 33)),
        (
            "several values in one name",
            der.sequence(set_of(attribute(b"a"), attribute(b"b", kind="2.5.4.10"))),
        ),
        ("no value in a name", der.sequence(b"\x31\x00")),
        ("Teletex", subject(attribute(b"web.internal", 0x14))),
        ("BMP", subject(attribute("web.internal".encode("utf-16-be"), 0x1E))),
        ("UCS-4", subject(attribute("web.internal".encode("utf-32-be"), 0x1C))),
        ("a NUL", subject(attribute(b"web.internal\0.example.com"))),
        ("a line end", subject(attribute(b"web\nlevel=error msg=forged"))),
        ("an escape sequence", subject(attribute(b"\x1b]0;owned\x07web"))),
        ("a C1 control", subject(attribute("\u009b2Jweb".encode()))),
        ("text turned round", subject(attribute("web\u202elanretni".encode()))),
        ("a line separator", subject(attribute("web\u2028next".encode()))),
        ("a value of ten thousand characters", subject(attribute(b"a" * 10_000, kind="2.5.4.10"))),
        ("broken UTF-8", subject(attribute(b"\xc0\xafweb"))),
        ("a surrogate in UTF-8", subject(attribute(b"\xed\xa0\x80"))),
        ("a PrintableString that is none", subject(attribute(b"web@internal", 0x13))),
        ("an IA5String that is none", subject(attribute(b"m\xfcnchen", 0x16, "0.9.2342.19200300.100.1.25"))),
        ("a value that is a sequence", subject(der.sequence(oid("2.5.4.3"), b"\x30\x00"))),
        ("a type without value", subject(der.sequence(oid("2.5.4.3")))),
        ("a common name that is not asked for", subject(attribute(b"other.internal"))),
        ("an address that is not asked for", subject(attribute(b"10.0.0.1"))),
    ):
        yield f"subject with {name}", for_subject(whose)


def structures() -> Iterator[Made]:
    good = request()
    body = good[4:]  # the outer header has four octets
    yield "nothing", b""
    yield "one octet", b"\x30"
    yield "an empty sequence", b"\x30\x00"
    yield "a request cut off in the middle", good[: len(good) // 2]
    yield "a request less its last octet", good[:-1]
    yield "an octet after the request", good + b"\0"
    yield "two requests in a row", good + good
    yield "indefinite length", b"\x30\x80" + body + b"\0\0"
    yield "length in more octets than needed", b"\x30\x83\x00" + good[2:4] + body
    yield "length of 127 octets", b"\x30\xff" + bytes(127) + body
    yield "length of four gibioctets", b"\x30\x84\xff\xff\xff\xff" + body
    yield "short length in long form", for_subject(b"\x30\x81\x00")
    yield "version 1", request(info(version=b"\x02\x01\x01"))
    yield "version -1", request(info(version=b"\x02\x01\xff"))
    yield "version of no octets", request(info(version=b"\x02\x00"))
    yield "version with needless zeros", request(info(version=b"\x02\x02\x00\x00"))
    yield "version of 4096 octets", request(info(version=b"\x02\x82\x10\x00" + b"\x7f" * 4096))
    yield "no version", request(info(version=b""))
    yield "no attributes", request(der.sequence(b"\x02\x01\x00", b"\x30\x00", SPKI))
    yield "a field too many", request(info(after=der.NULL))
    yield "a field too many after the signature", der.sequence(*der.children(good), der.NULL)
    yield "no signature", der.sequence(*der.children(good)[:2])
    yield (
        "signature in an OCTET STRING",
        der.sequence(*der.children(good)[:2], der.octet_string(ecdsa(info()))),
    )
    yield "signature of 7 bits less", der.sequence(*der.children(good)[:2], b"\x03\x03\x07\x30\x80")
    yield "signature algorithm of no fields", request(algorithm=b"\x30\x00")
    yield "tag of several octets", for_subject(b"\x3f\x81\x01\x00")
    yield "application tag", for_subject(b"\x60\x00")
    yield "private tag", for_subject(b"\xe0\x00")
    yield "OCTET STRING in pieces", for_extensions(der.sequence(oid("1.2.3"), b"\x24\x04\x04\x02\x05\x00"))
    yield "UTF8String in pieces", for_subject(subject(der.sequence(oid("2.5.4.3"), b"\x2c\x05\x0c\x03web")))
    yield (
        "OBJECT IDENTIFIER of 5000 octets",
        for_subject(subject(der.sequence(b"\x06\x82\x13\x88" + b"\x81" * 4999 + b"\x01", der.NULL))),
    )
    yield (
        "OBJECT IDENTIFIER with a needless 80",
        for_subject(subject(der.sequence(b"\x06\x03\x55\x80\x03", der.tlv(0x0C, b"web")))),
    )
    yield (
        "OBJECT IDENTIFIER cut off",
        for_subject(subject(der.sequence(b"\x06\x02\x55\x84", der.tlv(0x0C, b"web")))),
    )
    yield (
        "OBJECT IDENTIFIER of no octets",
        for_subject(subject(der.sequence(b"\x06\x00", der.tlv(0x0C, b"web")))),
    )
    yield "BOOLEAN of 01", for_extensions(der.sequence(oid("1.2.3"), b"\x01\x01\x01", der.octet_string(b"")))
    yield (
        "BIT STRING with eight unused bits",
        for_key(der.sequence(der.children(SPKI)[0], b"\x03\x02\x08\x00")),
    )
    yield "BIT STRING of no octets", for_key(der.sequence(der.children(SPKI)[0], b"\x03\x00"))
    yield "NULL of one octet", request(algorithm=der.sequence(oid("1.2.840.113549.1.1.11"), b"\x05\x01\x00"))
    yield "INTEGER of no octets", for_extensions(der.sequence(oid("1.2.3"), b"\x02\x00"))
    deep = b""
    for _ in range(40):
        deep = der.sequence(deep)
    yield "nested forty deep", for_subject(deep)
    yield "three thousand empty sets", for_subject(der.sequence(b"\x31\x00" * 3000))
    yield "a key instead of a request", SPKI
    yield "the signed part alone", info()


def frames() -> Iterator[Made]:
    text = pem(request())
    yield "two requests in PEM", text + text
    yield "text after the request in PEM", text + b"and so on\n"
    yield "a certificate's label", pem(request(), "CERTIFICATE")
    yield "a private key in PEM", pem(stream("key", 120), "PRIVATE KEY")
    yield "a CMS message in PEM", pem(request(), "PKCS7")
    yield "label that ends otherwise", text.replace(b"END CERTIFICATE", b"END NEW CERTIFICATE")
    yield (
        "headers inside PEM",
        text.replace(b"REQUEST-----\n", b"REQUEST-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
    )
    yield "PEM without an end", text[:-20]
    yield "PEM of nothing", b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"
    yield "PEM with a stray character", text.replace(b"\nM", b"\n!", 1)[:80] + b"%" + text[80:]
    yield "PEM with padding in the middle", text[:100] + b"==" + text[100:]
    yield "PEM of PEM", pem(text)
    yield "PEM in UTF-16", text.decode().encode("utf-16")
    yield "base64 without a frame", b64encode(request())
    yield "JSON", b'{"certificate_request": "MII"}'
    yield "a form", b"csr=MIIBIDCB"
    yield "a page", b"<!DOCTYPE html><script>alert(1)</script>"
    yield "zeros", bytes(1000)
    yield (
        "a netscape key request",
        der.sequence(der.sequence(SPKI, der.tlv(0x16, b"challenge")), ECDSA_SHA256, b"\x03\x01\x00"),
    )


def too_many() -> Iterator[Made]:
    yield "101 names", for_names(*(dns(f"w{n}.internal") for n in range(101)))
    yield "101 times the same name", for_names(*[dns("web.internal")] * 101)
    yield "three thousand names", _many_names(3000)


_BEGIN, _END = b"-----BEGIN CERTIFICATE REQUEST-----\n", b"-----END CERTIFICATE REQUEST-----\n"


def too_large() -> Iterator[Made]:
    yield "fifty thousand names", _many_names(50_000)
    yield (
        "ten megaoctets of zeros behind a header",
        _repeat((b"\x30\x84\x00\x98\x96\x80", 1), (b"\0", 10_000_000)),
    )
    yield "ten megaoctets of beginnings of PEM", _repeat((_BEGIN, 280_000))
    yield "ten megaoctets of line ends in PEM", _repeat((_BEGIN, 1), (b"\n", 10_000_000), (_END, 1))
    yield "nested a hundred thousand deep", {"nested": 100_000}
    yield "nested a hundred thousand deep, indefinite", _repeat((b"\x30\x80", 100_000), (b"\0\0", 100_000))
    yield (
        "seventy thousand octets in DER from PEM",
        _repeat((_BEGIN, 1), (b64encode(bytes(48)) + b"\n", 1459), (_END, 1)),
    )


def too_deep() -> Iterator[Made]:
    yield "nested ten thousand deep", {"nested": 10_000}
    yield "nested ten thousand deep, indefinite", _repeat((b"\x30\x80", 10_000), (b"\0\0", 10_000))
    yield "sixty thousand line ends in PEM without an end", _repeat((_BEGIN, 1), (b"\n", 60_000))
    yield "five thousand beginnings of PEM", _repeat((b"-----BEGIN ", 5_000))
    yield "sixty thousand zeros", _repeat((b"\x30\x82\xea\x60", 1), (b"\0", 60_000))


def _many_names(count: int) -> dict[str, Any]:
    """A faultless request but for asking so many times for one name."""
    unit = dns("web.internal")
    whole = for_names(*[unit] * count)
    start = whole.index(unit * 2)
    return _repeat((whole[:start], 1), (unit, count), (whole[start + len(unit) * count :], 1))


def _repeat(*parts: tuple[bytes, int]) -> dict[str, Any]:
    return {"repeat": [[_text(octets), times] for octets, times in parts]}


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")


KINDS = (
    ("signature", signatures, SIGNATURE),
    ("algorithm", algorithms, ALGORITHM),
    ("weak key", weak_keys, WEAK),
    ("type of key", key_types, KEY_TYPE),
    ("malformed key", malformed_keys, MALFORMED),
    ("name", malformed_names, NAME),
    ("type of name", other_names, NAME_TYPE),
    ("extension", extensions, EXTENSION),
    ("attributes", malformed_attributes, MALFORMED),
    ("subject", subjects, MALFORMED),
    ("structure", structures, MALFORMED),
    ("frame", frames, MALFORMED),
    ("number", too_many, "names-too-many"),
    ("size", too_large, "request-too-large"),
    ("depth", too_deep, MALFORMED),
)


def build() -> list[dict[str, Any]]:
    """Every case as it stands in the file."""
    cases = []
    for kind, made, code in KINDS:
        for name, what in made():
            case: dict[str, Any] = {
                "name": f"{kind}: {name}",
                "origin": f"vectors/make_hostile.py, {made.__name__}",
            }
            case["codes"] = [code]
            case |= what if isinstance(what, dict) else {"data": _text(what)}
            cases.append(case)
    return cases


def render() -> str:
    return "[\n" + ",\n".join(json.dumps(case) for case in build()) + "\n]\n"


def main() -> None:
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(render(), encoding="utf-8")
    print(f"wrote {PATH.name}")


if __name__ == "__main__":
    main()

"""`pkilint` over a certificate, over a certificate and its issuer, a CRL, an OCSP response: its findings as text, by its Python interface."""

from __future__ import annotations

from functools import cache
from typing import Any

from pkilint import loader, pkix, validation
from pkilint.bin import lint_pkix_signer_signee_cert_chain as chain_linter
from pkilint.pkix import certificate, crl, extension, name, ocsp

# It takes every domain for one of the public Internet, of two labels at least; RFC 5280, Section 4.2.1.6, and
# RFC 1034, Section 3.5, do not. Where such names are the operator's wish, they are passed over.
SINGLE_LABELS = frozenset({"pkix.invalid_domain_name_syntax", "pkix.invalid_uri_syntax"})


@cache
def _linter() -> Any:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


def findings(der: bytes) -> set[str]:
    """What `lint_pkix_cert` finds in a certificate, notices among it."""
    document = loader.RFC5280CertificateDocumentLoader().load_der_document(der, "certificate")
    return _said(_linter().validate(document.root))


def chain_findings(issuer: bytes, subject: bytes) -> set[str]:
    """What `lint_pkix_signer_signee_cert_chain` finds between two certificates."""
    collection: dict[str, Any] = {}
    load = loader.RFC5280CertificateDocumentLoader().load_der_document
    collection["issuer"] = load(issuer, "issuer", "issuer", collection)
    collection["subject"] = load(subject, "subject", "subject", collection)
    decoding = chain_linter.create_decoder_validation_container()
    results = decoding.validate(collection["issuer"].root) + decoding.validate(collection["subject"].root)
    results += chain_linter.create_issuer_validation_container().validate(collection["issuer"].root)
    results += chain_linter.create_subject_validation_container().validate(collection["subject"].root)
    return _said(results)


@cache
def _crl_linter() -> Any:
    return crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


def crl_findings(der: bytes) -> set[str]:
    """What `lint_crl -t CRL -p PKIX` finds in a CRL."""
    document = loader.RFC5280CertificateListDocumentLoader().load_der_document(der, "crl")
    return _said(_crl_linter().validate(document.root))


@cache
def _ocsp_linter() -> Any:
    return ocsp.create_pkix_ocsp_response_validator_container(
        [
            ocsp.create_response_decoder(),
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [],
    )


def ocsp_findings(der: bytes) -> set[str]:
    """What `lint_ocsp_response` finds, notices among it."""
    document = loader.RFC6960OCSPResponseDocumentLoader().load_der_document(der, "response")
    return _said(_ocsp_linter().validate(document.root))


def _said(results: Any) -> set[str]:
    return {
        f"{one.finding.code}: {one.message}"
        for result in results
        for one in result.finding_descriptions
        if one.finding.severity <= validation.ValidationFindingSeverity.NOTICE
    }

"""A certificate authority of the test's own, and a server's certificate by it."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


def issue(directory: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """Return the file with a new authority's certificate, for `SSL_CERT_FILE`, and the context of a server that it
    vouches for.

    Args:
        names: of the server; host names or IP addresses.
    """
    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server of a test")])
    authority = _builder(issuer, issuer, root).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    signed = authority.add_extension(usage, True).sign(root, hashes.SHA256())
    alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
    leaf = _builder(subject, issuer, own).add_extension(alternatives, False).sign(root, hashes.SHA256())
    trusted, kept = directory / "authority.pem", directory / "server.pem"
    trusted.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    kept.write_bytes(key + leaf.public_bytes(serialization.Encoding.PEM))
    return trusted, server_context(directory)


def server_context(directory: Path) -> ssl.SSLContext:
    """Return the context of the server that a certificate was issued for in this directory."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "server.pem")
    return context


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

"""A door before a PostgreSQL server that speaks TLS, for servers that were built without it.

Who comes through TLS goes on to the server's socket, who comes without it to its port of 127.0.0.1: so the rules of
pg_hba.conf for `local` and for `host` are those of `hostssl` and `hostnossl`. Everything behind the door is the server's.

It stands at 127.0.0.2, which is nobody's loopback by name: the product takes it for a way through a network.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "127.0.0.2"
SSL_REQUEST, GSS_REQUEST = (bytes((0, 0, 0, 8, 4, 210, 22, last)) for last in (47, 48))
CHUNK = 1 << 16
# Made for this door alone, for an address that leads nowhere else, and valid for a hundred years.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwDShWSpdH9APC9PH
yIbG923mYlZ6YWluCdjo2x5ArHihRANCAAS+U6n3UzKYj1oDWxXFSupfA9Ib5Skk
sIF4NAsqwcvmIqaXGeXJ+SH6FDox+cM7PRqY5fDmcKgLZ9OQ1PQyhtew
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBpzCCAU6gAwIBAgIUej1U5aaXkVgfi+QQyvS/XFvVP7IwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVYSBzZXJ2ZXIgb2YgdGhlIHRlc3RzMCAXDTI2MTEzMDA3MDkx
NVoYDzIxMjYxMTA2MDcwOTE1WjAgMR4wHAYDVQQDDBVhIHNlcnZlciBvZiB0aGUg
dGVzdHMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS+U6n3UzKYj1oDWxXFSupf
A9Ib5SkksIF4NAsqwcvmIqaXGeXJ+SH6FDox+cM7PRqY5fDmcKgLZ9OQ1PQyhtew
o2QwYjAdBgNVHQ4EFgQUKoO7u68U7NCQDC7Us0EvGE5glVEwHwYDVR0jBBgwFoAU
KoO7u68U7NCQDC7Us0EvGE5glVEwDwYDVR0TAQH/BAUwAwEB/zAPBgNVHREECDAG
hwR/AAACMAoGCCqGSM49BAMCA0cAMEQCIGnhl9bUe4oMg5Cx92RwyBCdojqihZPF
n1m2eyTffNTVAiBYdsi4D21fbedm4gtCdabIV98v9fWJECCLQVgIKmvWAA==
-----END CERTIFICATE-----
"""


@contextmanager
def tls_door(folder: Path, port: int, certificate: Path) -> Iterator[int]:
    """The door's port for the block. The server's socket lies in `folder`, its port is the same; the certificate is written
    into a file, for clients that want to know it."""
    certificate.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server((HOST, 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=_serve, args=(client, context, folder, port), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _serve(client: socket.socket, context: ssl.SSLContext, folder: Path, port: int) -> None:
    """One client, from its first word to its end."""
    with suppress(OSError), client:
        head = client.recv(8, socket.MSG_WAITALL)
        while head == GSS_REQUEST:
            client.sendall(b"N")
            head = client.recv(8, socket.MSG_WAITALL)
        if head != SSL_REQUEST:
            with socket.create_connection(("127.0.0.1", port)) as server:
                server.sendall(head)
                _pass_on(client, server)
            return
        client.sendall(b"S")
        with context.wrap_socket(client, server_side=True) as inside, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(folder / f".s.PGSQL.{port}"))
            _pass_on(inside, server)


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    """Pass on what comes, either way, until one end has gone."""
    while True:
        held = isinstance(client, ssl.SSLSocket) and client.pending()
        ready = [client] if held else select.select([client, server], [], [])[0]
        for source in ready:
            chunk = source.recv(CHUNK)
            if not chunk:
                return
            (server if source is client else client).sendall(chunk)

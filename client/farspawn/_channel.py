"""How a channel to a site is set up. gRPC checks none of these names: each is tested by its effect."""

import json
from collections.abc import Sequence
from datetime import timedelta
from importlib import resources
from pathlib import Path

import grpc

from farspawn._address import Address
from farspawn._errors import AddressError

# A site takes a hundred calls at a time from one connection; a client with more
# watches, followed logs and long polls than that opens another, up to so many:
# 2,000 calls. Beyond that, calls wait for one of the others to end, and so do
# those of any grpcio that does not know the key (older than 1.85).
_MOST_CONNECTIONS = 20

# Which methods may be repeated, and how, is the contract's to say: see launcher.proto.
_SERVICE_CONFIG = {
    **json.loads(resources.files("farspawn.v1").joinpath("service_config.json").read_text(encoding="utf-8")),
    "connectionScaling": {"maxConnectionsPerSubchannel": _MOST_CONNECTIONS},
}

# A stream over a network is renewed after so long: a connection that died
# without a word then costs minutes, not for ever. Pings would find it sooner,
# but a server that was not told to expect them answers with GOAWAY.
STREAM_LIFE = timedelta(minutes=10)


def options(*, encrypted: bool) -> Sequence[tuple[str, int | str]]:
    """The channel arguments."""
    chosen: list[tuple[str, int | str]] = [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # Without it, no more than 10.
        ("grpc.max_connections_per_subchannel_cap", _MOST_CONNECTIONS),
        # Otherwise a TXT record of the site's domain could replace ours.
        ("grpc.service_config_disable_resolution", 1),
        # A larger request is not repeated; the default is 256 KiB, and argv
        # and env may be more.
        ("grpc.per_rpc_retry_buffer_size", 4 << 20),
        ("grpc.max_receive_message_length", 64 << 20),
        # gRPC waits up to 2 minutes by default; an agent is restarted in moments,
        # and whoever keeps a lease of a second has less than that to find it.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    if not encrypted:
        # http_proxy in the environment would take what must stay on this machine elsewhere.
        chosen.append(("grpc.enable_http_proxy", 0))
    return chosen


def credentials_from_files(certificate: str, key: str, authorities: str) -> grpc.ChannelCredentials:
    """Reads what mutual TLS needs, PEM files all of them.

    Args:
        certificate: Ours, with the chain up to a root that the site trusts.
        key: The certificate's private key.
        authorities: The roots that sign the certificates of sites.

    Raises:
        OSError: A file cannot be read.
    """
    chain, private, roots = (Path(path).read_bytes() for path in (certificate, key, authorities))
    return grpc.ssl_channel_credentials(roots, private, chain)


def check_secure(address: Address, credentials: grpc.ChannelCredentials | None) -> None:
    """Refuses to talk over a network in the clear.

    Raises:
        AddressError: The address is not on this machine, and there are no credentials.
    """
    if credentials is None and not address.is_local:
        raise AddressError(
            f"{address.target} is not on this machine: give credentials (on the command line: "
            "--certificate, --key and --authorities), or tunnel to a Unix socket or a loopback port"
        )

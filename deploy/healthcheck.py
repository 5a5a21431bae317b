"""Ask the agent whether it takes new tasks: exit code 0 if it does. For a container's HEALTHCHECK.

    python healthcheck.py [unix:/path/to/socket]

Without an address it asks at the owner's socket, where the CLI looks for it: FARSPAWN_STATE tells. An agent
that is starting or draining answers no, and its tasks run on: use it to send work elsewhere, not to kill the agent.
"""
# ruff: noqa: INP001  # a script for the image, not a module

from __future__ import annotations

import os
import sys

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # read when grpc is imported

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from farspawn._address import address_of, default_site

_SECONDS = 4.0  # less than the timeout of the HEALTHCHECK, so that the answer says what is wrong


def main() -> None:
    """Ask, and end with the answer."""
    address = sys.argv[1] if len(sys.argv) > 1 else default_site(os.environ, os.getuid())
    with grpc.insecure_channel(address_of(address, {}, os.getuid()).uri) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.RpcError as error:
            sys.exit(f"{address}: {error.code().name}")
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        sys.exit(f"{address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")


if __name__ == "__main__":
    main()

"""Translates gRPC to the supervisor and back, and decides nothing. The only room that imports grpc."""

import os

# Must be set before grpc is imported: its fork handlers stop the whole server for up to a minute at every fork, and
# crash children. Nothing here forks; a library that does must not take the server down.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

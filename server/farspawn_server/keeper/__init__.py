"""The process that owns processes: it spawns, reaps, signals and contains, and knows nothing of gRPC.

Standard library and `farspawn_core` only: this is pid 1 in a container, and it outlives every crash and upgrade of
the server beside it.
"""

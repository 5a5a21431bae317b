"""The agent of a site: the keeper, which owns processes, and the gRPC server, which owns conversations."""

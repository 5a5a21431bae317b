"""The stubs of the contract farspawn.v1, generated from protos/ by `make stubs`."""

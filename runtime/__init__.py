"""The engine: usable inside any Python program, without gRPC."""

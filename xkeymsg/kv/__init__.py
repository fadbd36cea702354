"""Sealed key-value buckets: `client.kv(…)`; specified in docs/spec/kv.md."""

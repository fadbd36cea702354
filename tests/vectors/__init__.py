"""Test vectors of the formats: `envelope/` for xkm1, one scenario per file, and `xkv1/`.

`python -m tests.vectors.generate` makes them again from the cases. An implementation is tested
with `tests.vectors.runner.run`; how to plug one in is described there.
"""

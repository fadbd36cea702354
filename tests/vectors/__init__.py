"""Test vectors of the formats: `xkm1/`, one envelope per file, `replay/`, `fields/`, and `xkv1/`.

`python -m tests.vectors.generate` makes them again from the cases. An implementation is tested
with `tests.vectors.runner.run`; how to plug one in is described there.
"""

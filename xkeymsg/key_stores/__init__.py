"""Key stores: where a program's own secret keys are, and how they are used without showing them.

`protocol` is the interface, `providers` the registry, `opening` finds a key. `released_key` is the
base of the providers that hand a seed to this process; `pkcs11` uses keys that stay on a token.
"""

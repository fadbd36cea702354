"""The keys of a connection that are in key stores."""

from __future__ import annotations

from xkeymsg.key_stores.opening import open_signer
from xkeymsg.nkey import Signer
from xkeymsg.refusals import refusing
from xkeymsg.transport.options import ConnectOptions

__all__ = ("StoredKeys",)


class StoredKeys:
    """The user key of `nkey_store` and the TLS identity of `cert_store`.

    Both stores are read once, and by `reload`: a `command` does not run for each connection. A
    token is read for each connection, since one that was removed requires another login.

    Args:
        options: The settings.

    Raises:
        KeyStoreError: If a store cannot be read, or no key or certificate matches.
    """

    @refusing
    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        self.signer = self._open_signer()
        """The user key of `nkey_store`, if any."""
        self._identity = self._read_identity()

    @refusing
    def identity(self) -> bytes | None:
        """Return the PEM text of the certificate of `cert_store`, its chain and its key, if any.

        Raises:
            KeyStoreError: If a token cannot be used.
        """
        on_token = self._options.cert_store is not None and (
            self._options.cert_store.partition(":")[0].lower() == "pkcs11"
        )
        return self._read_identity() if on_token else self._identity

    @refusing
    def reload(self) -> bool:
        """Read the stores again, for the next connection; return whether a key has changed.

        If it raises, the old keys stay in use.

        Raises:
            ConfigurationError: If the identity cannot be used.
            KeyStoreError: As for the constructor.
        """
        signer, identity = self._open_signer(), self._read_identity()
        self._options.ssl_context(identity)
        before = _public(self.signer), self._identity
        self.signer, self._identity = signer, identity
        return before != (_public(signer), identity)

    def _open_signer(self) -> Signer | None:
        options = self._options
        if options.nkey_store is None:
            return None
        return open_signer(
            options.nkey_store, match_by=options.nkey_match_by, match=options.nkey_match
        )

    def _read_identity(self) -> bytes | None:
        options = self._options
        if options.cert_store is None:
            return None
        from xkeymsg.key_stores.certificates import tls_identity  # noqa: PLC0415 - rarely used

        return tls_identity(
            options.cert_store,
            options.cert_match_by,
            options.cert_match,
            skip_invalid=options.cert_match_skip_invalid,
        )


def _public(signer: Signer | None) -> bytes | None:
    return None if signer is None else signer.public_key

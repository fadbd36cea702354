"""Creates the bucket, and checks its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xkeymsg.client.jetstream.api import API, STREAM_NOT_FOUND
from xkeymsg.directory.settings import STREAM, bucket_config, bucket_faults
from xkeymsg.display import cut
from xkeymsg.errors import ConfigurationError, DeliveryError

__all__ = ("check_bucket", "create_bucket")


def _check(config: Mapping[str, Any]) -> None:
    if faults := list(bucket_faults(config)):
        raise ConfigurationError(
            f"the bucket XKEYS is not safe to use: {cut('; '.join(faults))}. Delete it, run"
            " `xkeymsg directory init`, and publish the entries again"
        )


async def check_bucket(api: API) -> None:
    """Check the configuration of the bucket.

    Raises:
        ConfigurationError: If it is not safe.
        DeliveryError: If it does not exist, or its configuration may not be read.
    """
    _check(await api.stream_config(STREAM))


async def create_bucket(api: API, replicas: int = 1) -> bool:
    """Create the bucket if it does not exist, and read its configuration back.

    Returns:
        Whether it was created.

    Raises:
        ConfigurationError: If the existing one, or what the server has made, is not safe.
        DeliveryError: If the server refuses.
    """
    try:
        await check_bucket(api)
    except DeliveryError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
    else:
        return False
    await api.request(f"STREAM.CREATE.{STREAM}", bucket_config(replicas))
    await check_bucket(api)
    return True

"""Remote object storage by obstore, with patience for large files and none for silence."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.store import ObjectStore, from_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# A store that is away, or falls silent, is said to be so within seconds; jobs wait and come back by themselves. Only
# silence is bounded: a large file may take its time (the library's own limit of 30 s is for the whole of it).
_PATIENCE: "ClientConfig" = {
    "timeout": timedelta(hours=12),
    "connect_timeout": timedelta(seconds=3),
    "read_timeout": timedelta(seconds=30),
}
_RETRIES: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=10)}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def open_remote(url: str) -> ObjectStore:
    """The store behind a URL; credentials and endpoint come from the environment, as any AWS client takes them."""
    if url.startswith("file:"):
        return from_url(url)
    # an operator who names an endpoint without encryption means it
    plain = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
    return from_url(url, client_options={**_PATIENCE, "allow_http": plain}, retry_config=_RETRIES)

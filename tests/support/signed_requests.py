"""A put to an S3-compatible store, signed by hand (AWS signature 4), so that a test can say exactly what is sent."""

from __future__ import annotations

import hashlib
import hmac
import http.client
from datetime import UTC, datetime

from object_store import KEY, REGION, SECRET


def signed_put(endpoint: str, path: str, body: bytes, *, once: bool) -> int:
    """Puts an object and gives the status; `once` asks for it only if there is none of that name."""
    host = endpoint.partition("://")[2]
    headers = _signed(host, path, body, {"if-none-match": "*"} if once else {})
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request("PUT", path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def _signed(host: str, path: str, body: bytes, others: dict[str, str]) -> dict[str, str]:
    moment = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    content = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": content, "x-amz-date": moment} | others
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = hashlib.sha256(f"PUT\n{path}\n\n{listed}\n{names}\n{content}".encode()).hexdigest()
    scope = f"{moment[:8]}/{REGION}/s3/aws4_request"
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{request}".encode(), "sha256").hex()
    credential = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers | {"authorization": credential}

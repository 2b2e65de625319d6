"""Requests to object storage are signed as Amazon's own client signs them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from virke.edge.guest.signing import path_of, signed_headers

NOW = datetime(2026, 11, 26, 22, 0, 5, tzinfo=UTC)
HOST = "eu-central.object.fastlystorage.app"


class Signer(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """The same, at a time of the test's."""

    def canonical_request(self, request: AWSRequest) -> str:
        request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
        del request.headers["X-Amz-Date"]
        request.headers["X-Amz-Date"] = request.context["timestamp"]
        text: str = super().canonical_request(request)
        return text

    def _normalize_url_path(self, path: str) -> str:  # as S3 has it: nothing is normalized
        return path


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("key", ["a/b", "seg/app/main/1.0000000000000002.abc=@-_", "x" * 300])
@pytest.mark.parametrize(
    "headers", [{}, {"range": "bytes=0-99"}, {"if-none-match": "*", "content-type": "application/octet-stream"}]
)
def test_a_signature_is_what_botocore_makes(method: str, key: str, headers: dict[str, str]) -> None:
    path = path_of("bucket", "some/prefix", key)
    own = signed_headers(
        method, HOST, path, headers=headers, region="eu-central", key_id="KEY", secret="SECRET/+", now_s=NOW.timestamp()
    )
    request = AWSRequest(
        method, f"https://{HOST}{path}", headers={**headers, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    )
    request.context["payload_signing_enabled"] = False
    Signer(Credentials("KEY", "SECRET/+"), "s3", "eu-central").add_auth(request)
    theirs = str(request.headers["Authorization"])
    assert own["authorization"].replace(" ", "") == theirs.replace(" ", "")
    assert own["host"] == HOST

"""Page tokens: where the next page of a list begins, sealed so that only this store's own are taken."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from hashlib import sha256

from .core.refusals import Kind, Refusal, Refused, Violation
from .generations import is_earlier, other_generation

_SEAL_BYTES = 16
_GENERATION_BYTES = 4


class PageTokens:
    """Opaque page tokens, authenticated by the store's secret: bound to one tenant, one question and one generation."""

    def __init__(self, secret: bytes, generation: int = 1) -> None:
        self._secret = secret
        self._generation = generation

    def make(self, scope: str, cursor: str) -> str:
        """A token for what follows `cursor`; `scope` says all that the next request must have in common."""
        body = self._generation.to_bytes(_GENERATION_BYTES, "big") + cursor.encode()
        return base64.urlsafe_b64encode(self._seal(scope, body) + body).decode("ascii").rstrip("=")

    def read(self, scope: str, token: str) -> str:
        """The cursor in a token; empty for no token. Raises Refused: OTHER_GENERATION, INVALID_PAGE_TOKEN."""
        if not token:
            return ""
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        seal, body = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
        issued = int.from_bytes(body[:_GENERATION_BYTES], "big")
        if is_earlier(issued, self._generation):
            raise other_generation("page token", issued, self._generation, "ask for the first page again")
        if not hmac.compare_digest(seal, self._seal(scope, body)):
            raise Refused(
                Refusal(
                    Kind.INVALID,
                    "INVALID_PAGE_TOKEN",
                    "the page token is not of this request; send the first request again without a token",
                    violations=(Violation("page_token", "not a token of this request", "INVALID_PAGE_TOKEN"),),
                )
            )
        return body[_GENERATION_BYTES:].decode()

    def number(self, scope: str, token: str) -> int:
        """The cursor as a number; 0 for no token."""
        return int(self.read(scope, token) or "0")

    def _seal(self, scope: str, body: bytes) -> bytes:
        question = scope.encode()
        message = len(question).to_bytes(4, "big") + question + body
        return hmac.digest(self._secret, message, "sha256")[:_SEAL_BYTES]


def scope_of(method: str, tenant: str, *conditions: str | int) -> str:
    """The scope of a page token: the method, the tenant and every condition of the question but its page size."""
    said = json.dumps([method, tenant, *conditions])
    return sha256(said.encode("utf-8", "surrogatepass")).hexdigest()

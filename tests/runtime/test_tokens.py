import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.rows import StoreInfo
from callboard.runtime.tokens import Token, Tokens

SECRET = bytes(range(32))


def tokens(generation: int = 1, boot: int = 1, secret: bytes = SECRET) -> Tokens:
    return Tokens(StoreInfo("s", generation, boot, 1, secret))


@given(st.integers(0, 2**63 - 1), st.text(max_size=80), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_a_token_says_what_was_put_in(key: int, path: str, attempt: int, delivery: int) -> None:
    path = path.encode("utf-8", "replace").decode()
    token = tokens(3, 7).issue(key, path, attempt, delivery)
    assert tokens(4, 9).read(token) == Token(3, 7, key, 1, attempt, delivery, path)


def test_the_code_is_hmac_sha256_with_the_stores_secret() -> None:
    token = tokens().issue(5, "a/b", 1, 1)
    assert token[-16:] == hmac.digest(SECRET, token[:-16], hashlib.sha256)[:16]


def test_every_changed_byte_is_noticed() -> None:
    token = tokens().issue(5, "lines[3]/charge", 1, 1)
    for place in range(len(token)):
        forged = bytearray(token)
        forged[place] ^= 1
        assert tokens().read(bytes(forged)) is None


def test_a_token_of_another_store_and_garbage_are_not_read() -> None:
    assert tokens().read(tokens(secret=b"x" * 32).issue(1, "a", 1, 1)) is None
    for garbage in (b"", b"x", b"\0" * 100, b"\xff" * 50_000):
        assert tokens().read(garbage) is None


def test_a_token_of_another_generation_is_known_as_that() -> None:
    old = tokens(generation=2).issue(1, "a", 1, 1)
    assert tokens(generation=3).is_other_generation(old)
    assert tokens(generation=3, secret=b"x" * 32).is_other_generation(old), "a restore renews the secret"
    assert tokens(generation=1).is_other_generation(old)
    assert not tokens(generation=1, secret=b"x" * 32).is_other_generation(old)
    assert not tokens(generation=2).is_other_generation(old)
    for garbage in (b"", b"x", b"\0" * 100, b"\xff" * 50_000):
        assert not tokens(generation=3).is_other_generation(garbage)

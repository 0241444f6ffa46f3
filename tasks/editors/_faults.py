"""The ways in which a service gives no image, whatever its protocol calls them."""

import email.utils
import time
from collections.abc import Mapping

TRY_AGAIN = frozenset({408, 409, 425, 429})
"""And all from 500 up."""
MAYBE_PAID = frozenset({502, 504, 520, 522, 524})
"""A gateway gave up on a service that may have gone on."""


class Refused(Exception):
    """A safety system would not have it; asking again changes nothing."""

    def __init__(self, said: str, *, paid: bool) -> None:
        super().__init__(said)
        self.paid = paid


class Again(Exception):
    """It may work the next time."""

    def __init__(self, said: str, *, paid: bool, wait_s: float = 0.0) -> None:
        super().__init__(said)
        self.paid = paid
        """It may have been charged."""
        self.wait_s = wait_s
        """As the service asked for."""


class Unusable(Exception):
    """No edit can be had with these settings, this key or this account."""


def of_status(status: int, said: str, headers: Mapping[str, str]) -> Again | Unusable:
    """What an answer with an error status means."""
    if status in TRY_AGAIN or status >= 500:
        wait_s = retry_after_s(headers)
        return Again(f"{status}: {said}", paid=status in MAYBE_PAID, wait_s=wait_s)
    if status in (401, 403):
        return Unusable(f"the key is not accepted ({status}): {said}")
    if status == 402:
        return Unusable(f"the account has no credit left (402): {said}")
    return Unusable(f"{status}: {said}")


def of_transport(error: BaseException | None) -> Again | Unusable | None:
    """What an error of httpx, or of httpx2 which the SDKs use, means; None where it is another.

    Told apart by name, since the two share their names and no classes.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"InvalidURL", "UnsupportedProtocol", "LocalProtocolError"}:
        return Unusable(f"it cannot be asked: {error}")
    if names & {"ConnectError", "ConnectTimeout", "PoolTimeout"}:
        return Again("it cannot be reached", paid=False)
    if "TimeoutException" in names:
        return Again("no answer in time", paid=True)
    if "TransportError" in names or "DecodingError" in names:
        return Again("the connection was cut", paid=True)
    return None


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds of a `Retry-After` header, which gives them or a date; 0 without one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0

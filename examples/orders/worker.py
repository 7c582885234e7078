"""The services of the order flow: small, in memory of nothing, and with the same answers every time.

Each id is made from what it is about, so a repeated call finds the same reservation, charge or parcel instead of
making a second one: that is what an idempotent service looks like to a workflow.
"""

from typing import Any

from callboard.runtime import Operations, TaskError

operations = Operations()

SOLD_OUT = "unobtainium"
"""The article that is never in stock."""
DECLINED_FROM_CENTS = 1_000_000
"""Cards are declined from this amount on."""


@operations.operation("inventory.reserve")
async def reserve(task: Any, sku: str, qty: int) -> dict[str, Any]:
    """Takes goods from the shelf. No other attempt will find more of them, so the failure is final."""
    if sku == SOLD_OUT:
        raise TaskError("OutOfStock", f"there is no {sku} left", retryable=False, details={"sku": sku, "qty": qty})
    return {"id": f"reservation-{task.execution_id}", "sku": sku, "qty": qty}


@operations.operation("inventory.release")
async def release(task: Any, reservation: str) -> dict[str, Any]:
    """Puts goods back."""
    return {"released": reservation}


@operations.operation("payments.charge")
async def charge(task: Any, order: str, cents: int) -> dict[str, Any]:
    """Charges the card. The bank never answers the first call, to show a retry."""
    if cents >= DECLINED_FROM_CENTS:
        raise TaskError("CardDeclined", f"{cents} cents are too much for this card", retryable=False)
    if task.attempt == 1:
        raise TaskError("BankUnavailable", "the bank did not answer")
    return {"id": f"charge-{order}", "cents": cents}


@operations.operation("mail.confirm")
def confirm(task: Any, order: str, charge: str) -> dict[str, Any]:
    """Sends the customer a confirmation. A plain function: it runs in a thread."""
    return {"to": f"customer of {order}", "about": charge}


@operations.operation("crm.note")
async def note(task: Any, order: str, cents: int) -> dict[str, Any]:
    """Tells the sales people."""
    return {"noted": f"{order}: {cents / 100:.2f}"}


@operations.operation("shipping.ship")
async def ship(task: Any, order: str, reservation: str) -> dict[str, Any]:
    """Hands the parcel over."""
    task.heartbeat({"packed": reservation})
    return {"tracking": f"track-{order}"}

"""A queue in which tenants take turns: however much one of them puts in, the others wait for one of its items each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class FairQueue(Generic[T]):
    """Each item stands in it once; those of one tenant come in the order in which they were put in."""

    def __init__(self) -> None:
        self._tenants: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()
        """None of them is empty; the first one is next."""

    def __bool__(self) -> bool:
        return bool(self._tenants)

    def put(self, tenant: str, item: T) -> None:
        """Put it behind the tenant's others; where it stands there already, it keeps its place."""
        self._tenants.setdefault(tenant, OrderedDict())[item] = None

    def take(self) -> T:
        """The next item. Raises KeyError where there is none."""
        tenant, items = self._tenants.popitem(last=False)
        item = items.popitem(last=False)[0]
        if items:
            self._tenants[tenant] = items
        return item

    def discard(self, tenant: str, item: T) -> None:
        """Take it out, if it is there."""
        items = self._tenants.get(tenant)
        if items is not None:
            items.pop(item, None)
            if not items:
                del self._tenants[tenant]

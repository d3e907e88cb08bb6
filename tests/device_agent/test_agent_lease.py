"""The device lease: one holder, in order, with a way out for those who wait."""

from __future__ import annotations

import threading
import time

import pytest

from device_agent.errors import RequestError
from device_agent.lease import DeviceLease
from tests.device_agent.fakes import wait_until


def test_it_names_its_holder_and_is_free_again_after_an_error() -> None:
    lease = DeviceLease()
    with pytest.raises(KeyError), lease.hold("first"):
        {}[lease.holder]
    assert lease.holder is None
    with lease.hold("second", timeout_s=0):
        assert lease.holder == "second"


def test_a_waiter_gives_up_in_time_and_says_who_holds_it() -> None:
    lease = DeviceLease()
    with lease.hold("measurement 7"):
        began = time.monotonic()
        with pytest.raises(RequestError, match="measurement 7") as caught, lease.hold("x", timeout_s=0.1):
            pass
        assert 0.1 <= time.monotonic() - began < 1
    assert caught.value.status_code == 503
    assert caught.value.retry_after_s == 1


def test_a_waiter_that_is_no_longer_wanted_leaves_soon() -> None:
    lease, unwanted = DeviceLease(), threading.Event()
    with lease.hold("first"):
        threading.Timer(0.1, unwanted.set).start()
        with pytest.raises(RequestError), lease.hold("second", unwanted=unwanted.is_set):
            pass
    with lease.hold("third", timeout_s=0):
        pass


def test_it_is_granted_in_the_order_of_asking_and_to_one_at_a_time() -> None:
    lease, order, inside = DeviceLease(), [], []

    def work(number: int) -> None:
        with lease.hold(str(number)):
            inside.append(number)
            order.append((number, len(inside)))
            time.sleep(0.005)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    with lease.hold("first"):
        for number, thread in enumerate(threads):
            thread.start()
            wait_until(lambda expected=number + 1: len(lease._queue) == expected)
    for thread in threads:
        thread.join()
    assert order == [(number, 1) for number in range(8)]

"""The device lease: one holder, in order, with a way out for those who wait."""

from __future__ import annotations

import threading
import time

import pytest

from device_agent.errors import RequestError
from device_agent.gate import Gate
from device_agent.lease import DeviceLease
from device_agent.traffic import Traffic
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


def test_it_is_shared_by_many_but_not_with_who_needs_it_alone() -> None:
    lease = DeviceLease()
    assert lease.try_share()
    assert lease.try_share()
    with pytest.raises(RequestError, match="others wait for it"), lease.hold("measurement", timeout_s=0.02):
        pass
    lease.unshare()
    lease.unshare()
    with lease.hold("measurement", timeout_s=0):
        assert not lease.try_share()
        with pytest.raises(RequestError, match="measurement"):
            lease.share(timeout_s=0.02)
    assert lease.try_share()


def test_who_asks_for_it_alone_is_not_starved_by_those_who_share() -> None:
    lease, held = DeviceLease(), threading.Event()
    lease.share()

    def measure() -> None:
        with lease.hold("measurement"):
            held.set()

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: len(lease._queue) == 1)
    assert not lease.try_share()  # though only sharers have it
    assert not held.is_set()
    lease.unshare()
    assert held.wait(10)
    thread.join()
    lease.share(timeout_s=10)
    lease.unshare()


def test_a_gate_for_single_runs_keeps_them_off_measurements_and_counts_them() -> None:
    lease, traffic = DeviceLease(), Traffic()
    gate, open_gate = Gate(lease, traffic, wait_s=0.02), Gate(lease, traffic, is_open=True)
    with lease.hold("measurement 3"):
        with pytest.raises(RequestError, match="measurement 3"), gate.inference():
            pass
        assert traffic.since(traffic.mark()) == 0
        with open_gate.inference(5):
            assert traffic.since(traffic.mark()) == 5
    mark = traffic.mark()
    with gate.inference(), gate.inference():
        pass
    assert traffic.since(mark) == 2
    with lease.hold("measurement 4", timeout_s=0):
        pass

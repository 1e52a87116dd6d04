"""Which addresses are somebody's in the internet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.images.wire import is_public

PRIVATE = ["127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254",
           "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "239.1.1.1", "192.0.2.1", "198.18.0.1", "240.0.0.1",
           "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "fec0::1"]
PUBLIC = ["93.184.215.14", "8.8.8.8", "172.32.0.1", "2606:4700::1", "2a00:1450:4001::1"]


def spellings(address: str) -> list[str]:
    """An IPv4 address in the dresses of IPv6."""
    first, second, third, fourth = map(int, address.split("."))
    return [f"::ffff:{address}", f"64:ff9b::{address}", f"2002:{first:02x}{second:02x}:{third:02x}{fourth:02x}::1"]


@pytest.mark.parametrize("address", PRIVATE + [each for address in PRIVATE if "." in address
                                               for each in spellings(address)])
def test_what_is_not_of_the_internet_is_not_public_however_it_is_written(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC + [each for address in PUBLIC if "." in address
                                              for each in spellings(address)[:2]])
def test_what_is_of_the_internet_is(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8")
       | st.ip_addresses(v=4, network="169.254.0.0/16"))
def test_none_of_a_private_network_is(address: object) -> None:
    assert not any(is_public(each) for each in [str(address), *spellings(str(address))])

"""Ports that are held for a part which is not there yet."""

from __future__ import annotations

import socket
import struct
import sys

import pytest

from local.ports import HeldPorts
from local.serving import listen

_IP_LOCAL_PORT_RANGE = 51  # Linux 6.3, ip(7)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be held")


def any_port_of_one(listener: socket.socket, port: int) -> None:
    """Let the system choose a port for `listener` where it has `port` alone to choose."""
    try:
        listener.setsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, struct.pack("I", port << 16 | port))
    except OSError:
        pytest.skip("this kernel gives out ports of one range to all")
    listener.bind(("127.0.0.1", 0))


@on_linux
@pytest.mark.parametrize("reuse", [0, 1])
def test_a_held_port_is_given_to_nobody_who_takes_any(reuse: int) -> None:
    with HeldPorts() as ports, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        with pytest.raises(OSError, match="in use"):
            any_port_of_one(other, ports.hold())


def test_who_names_a_held_port_serves_there_as_often_as_it_comes() -> None:
    with HeldPorts() as ports:
        port = ports.hold()
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            with listen(port) as server:
                server.listen()
                socket.create_connection(("127.0.0.1", port)).close()


def test_a_port_may_be_held_twice_but_not_while_a_program_listens() -> None:
    with HeldPorts() as ports:
        port = ports.hold()
        assert ports.hold(port) == port
        with listen(port) as server:
            server.listen()
            with pytest.raises(OSError, match="in use"):
                ports.hold(port)


@on_linux
def test_ports_are_let_go_at_the_end() -> None:
    with HeldPorts() as ports:
        port = ports.hold()
    with socket.socket() as other:
        any_port_of_one(other, port)

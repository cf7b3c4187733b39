"""grpcio's client against any server of grpc.testing.TestService; the project's `interop-server` above all.

    python client.py --server_host 127.0.0.1 --server_port N [--test_case C|all]

Cases with an official name do what the grpc project describes; the others are ours. One line for each; exits 1 when one
failed. grpcio does not say whether a message came compressed: cases of compression look at what the server says of ours, and at the
content of its own. Left out: ORCA, soak, credentials.
"""

import argparse
import concurrent.futures
import queue
import sys
import time

import grpc

from testing_protos import empty_pb2, messages_pb2, test_pb2_grpc

REQUESTS = [27182, 8, 1828, 45904]
RESPONSES = [31415, 9, 2653, 58979]
LARGE_REQUEST = 271828
LARGE_RESPONSE = 314159
SPECIAL_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"
# grpcio gives a message 4 MiB, and so do we: the largest payload leaves room for its envelope.
LARGEST_PAYLOAD = 4 * 1024 * 1024 - 64
# No call takes this long against a server that answers.
PATIENCE_SECONDS = 20


def channel_for(asked):
    """The channel that the command line asks for."""
    target = f"{asked.server_host}:{asked.server_port}"
    if asked.use_tls == "false":
        return grpc.insecure_channel(target)
    with open(asked.ca_file, "rb") as file:
        credentials = grpc.ssl_channel_credentials(root_certificates=file.read())
    name = asked.server_host_override
    options = [("grpc.ssl_target_name_override", name)] if name else []
    return grpc.secure_channel(target, credentials, options=options)


class Failed(Exception):
    """What was expected and did not happen."""


def expect(condition, what):
    if not condition:
        raise Failed(what)


def zeros(octets):
    return messages_pb2.Payload(body=bytes(octets))


def ping(octets, *answers, interval_us=0):
    parameters = [messages_pb2.ResponseParameters(size=size, interval_us=interval_us) for size in answers]
    return messages_pb2.StreamingOutputCallRequest(payload=zeros(octets), response_parameters=parameters)


def fails_with(code, call):
    """Runs `call` and returns its error, which must have `code`."""
    try:
        call()
    except grpc.RpcError as error:
        expect(error.code() == code, f"{code} expected, got {error.code()}: {error.details()}")
        return error
    raise Failed(f"{code} expected, the call succeeded")


class Upload:
    """Requests of a stream, given one by one."""

    def __init__(self):
        self._queue = queue.SimpleQueue()

    def send(self, message):
        self._queue.put(message)

    def end(self):
        self._queue.put(None)

    def __iter__(self):
        return self

    def __next__(self):
        message = self._queue.get()
        if message is None:
            raise StopIteration
        return message


def empty_unary(stub):
    expect(stub.EmptyCall(empty_pb2.Empty(), timeout=PATIENCE_SECONDS) == empty_pb2.Empty(), "an empty response")


def unary(stub, octets, answer, **options):
    request = messages_pb2.SimpleRequest(response_size=answer, payload=zeros(octets))
    response, call = stub.UnaryCall.with_call(request, timeout=PATIENCE_SECONDS, **options)
    expect(response.payload.body == bytes(answer), f"{answer} zeros, got {len(response.payload.body)} octets")
    return call


def large_unary(stub):
    unary(stub, LARGE_REQUEST, LARGE_RESPONSE)


def largest_message(stub):
    unary(stub, LARGEST_PAYLOAD, LARGEST_PAYLOAD)


def too_large_message(stub):
    """Above the server's limit: an error for the call, while its neighbours live."""
    request = messages_pb2.SimpleRequest(payload=zeros(LARGEST_PAYLOAD + 1024))
    fails_with(
        grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: stub.UnaryCall(request, timeout=PATIENCE_SECONDS)
    )
    empty_unary(stub)


ALGORITHMS = (grpc.Compression.Gzip, grpc.Compression.Deflate)


def flag(value):
    return messages_pb2.BoolValue(value=value)


def large(expect=None, wanted=None):
    return messages_pb2.SimpleRequest(
        response_size=LARGE_RESPONSE,
        payload=zeros(LARGE_REQUEST),
        expect_compressed=None if expect is None else flag(expect),
        response_compressed=None if wanted is None else flag(wanted),
    )


def client_compressed_unary(stub):
    """The server must notice a request that is not what it says, and take those that are."""
    for algorithm in ALGORITHMS:
        for compression, says in ((grpc.Compression.NoCompression, True), (algorithm, False)):
            request = large(expect=says)
            call = lambda: stub.UnaryCall(request, timeout=PATIENCE_SECONDS, compression=compression)
            fails_with(grpc.StatusCode.INVALID_ARGUMENT, call)
        for compression, says in ((algorithm, True), (grpc.Compression.NoCompression, False)):
            response = stub.UnaryCall(large(expect=says), timeout=PATIENCE_SECONDS, compression=compression)
            expect(response.payload.body == bytes(LARGE_RESPONSE), f"{LARGE_RESPONSE} zeros")


def server_compressed_unary(stub):
    for compression in (*ALGORITHMS, grpc.Compression.NoCompression):
        for wanted in (True, False):
            response = stub.UnaryCall(large(wanted=wanted), timeout=PATIENCE_SECONDS, compression=compression)
            expect(response.payload.body == bytes(LARGE_RESPONSE), f"{LARGE_RESPONSE} zeros")


def client_compressed_streaming(stub):
    for algorithm in ALGORITHMS:
        for compression, says in ((algorithm, True), (grpc.Compression.NoCompression, False)):
            requests = [
                messages_pb2.StreamingInputCallRequest(payload=zeros(size), expect_compressed=flag(says))
                for size in (27182, 45904)
            ]
            options = dict(timeout=PATIENCE_SECONDS, compression=compression)
            response = stub.StreamingInputCall(iter(requests), **options)
            got = response.aggregated_payload_size
            expect(got == 27182 + 45904, f"the sum, got {got}")
            requests[0].expect_compressed.value = not says
            call = lambda: stub.StreamingInputCall(iter(requests), **options)
            fails_with(grpc.StatusCode.INVALID_ARGUMENT, call)


def server_compressed_streaming(stub):
    sizes = [(31415, True), (92653, False), *((size, True) for size in RESPONSES)]
    parameters = [messages_pb2.ResponseParameters(size=size, compressed=flag(wanted)) for size, wanted in sizes]
    request = messages_pb2.StreamingOutputCallRequest(payload=zeros(0), response_parameters=parameters)
    for algorithm in ALGORITHMS:
        outputs = stub.StreamingOutputCall(request, timeout=PATIENCE_SECONDS, compression=algorithm)
        got = [len(output.payload.body) for output in outputs]
        expect(got == [size for size, _ in sizes], f"{sizes}, got {got}")


def client_streaming(stub):
    requests = [messages_pb2.StreamingInputCallRequest(payload=zeros(size)) for size in REQUESTS]
    response = stub.StreamingInputCall(iter(requests), timeout=PATIENCE_SECONDS)
    expect(response.aggregated_payload_size == sum(REQUESTS), f"the sum, got {response.aggregated_payload_size}")


def server_streaming(stub):
    outputs = stub.StreamingOutputCall(ping(0, *RESPONSES), timeout=PATIENCE_SECONDS)
    sizes = [len(output.payload.body) for output in outputs]
    expect(sizes == RESPONSES, f"sizes {RESPONSES}, got {sizes}")


def long_download(stub):
    """16 MiB in 64 KiB messages: many times any initial window."""
    sizes = [64 * 1024] * 256
    outputs = stub.StreamingOutputCall(ping(0, *sizes), timeout=PATIENCE_SECONDS)
    total = sum(len(output.payload.body) for output in outputs)
    expect(total == sum(sizes), f"{sum(sizes)} octets, got {total}")


def long_upload(stub):
    """16 MiB the other way."""
    count, size = 256, 64 * 1024
    requests = (messages_pb2.StreamingInputCallRequest(payload=zeros(size)) for _ in range(count))
    response = stub.StreamingInputCall(requests, timeout=PATIENCE_SECONDS)
    expect(response.aggregated_payload_size == count * size, f"got {response.aggregated_payload_size}")


def ping_pong(stub):
    upload = Upload()
    outputs = stub.FullDuplexCall(upload, timeout=PATIENCE_SECONDS)
    for octets, answer in zip(REQUESTS, RESPONSES):
        upload.send(ping(octets, answer))
        got = len(next(outputs).payload.body)
        expect(got == answer, f"{answer} octets, got {got}")
    upload.end()
    expect(next(outputs, None) is None, "the end after four answers")


def empty_stream(stub):
    outputs = stub.FullDuplexCall(iter([]), timeout=PATIENCE_SECONDS)
    expect(next(outputs, None) is None, "no answer to no request")


def timeout_on_sleeping_server(stub):
    upload = Upload()
    outputs = stub.FullDuplexCall(upload, timeout=0.001)
    upload.send(ping(27182))
    fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: next(outputs))
    upload.end()


def deadline_in_a_sleeping_handler(stub):
    """The handler sleeps for 10 s; the call ends at its deadline of 200 ms, and the connection goes on."""
    start = time.monotonic()
    outputs = stub.StreamingOutputCall(ping(0, 1, interval_us=10_000_000), timeout=0.2)
    fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: next(outputs))
    expect(0.19 <= time.monotonic() - start < 5, "an end near 200 ms")
    empty_unary(stub)


def cancel_after_begin(stub):
    upload = Upload()
    response = stub.StreamingInputCall.future(upload, timeout=PATIENCE_SECONDS)
    response.cancel()
    upload.end()
    expect(response.code() == grpc.StatusCode.CANCELLED, f"CANCELLED, got {response.code()}")
    empty_unary(stub)


def cancel_after_first_response(stub):
    upload = Upload()
    outputs = stub.FullDuplexCall(upload, timeout=PATIENCE_SECONDS)
    upload.send(ping(REQUESTS[0], RESPONSES[0]))
    expect(len(next(outputs).payload.body) == RESPONSES[0], "the first answer")
    outputs.cancel()
    fails_with(grpc.StatusCode.CANCELLED, lambda: next(outputs))
    upload.end()
    empty_unary(stub)


def cancel_is_seen(stub):
    """200 calls cancelled in mid-stream, half of them under a handler that sleeps and half under one that waits for its
    upload: a server that does not notice has them all still running, and no thread or stream left for the next call."""
    sleep = messages_pb2.ResponseParameters(size=1, interval_us=600_000_000)
    for _ in range(100):
        request = ping(0, 1)
        request.response_parameters.append(sleep)
        sleeping = stub.StreamingOutputCall(request)
        next(sleeping)
        sleeping.cancel()

        upload = Upload()
        waiting = stub.FullDuplexCall(upload)
        upload.send(ping(0, 1))
        next(waiting)
        waiting.cancel()
        upload.end()
    empty_unary(stub)


def status_code_and_message(stub, message="test status message"):
    wanted = messages_pb2.EchoStatus(code=grpc.StatusCode.UNKNOWN.value[0], message=message)
    request = messages_pb2.SimpleRequest(response_status=wanted)
    error = fails_with(grpc.StatusCode.UNKNOWN, lambda: stub.UnaryCall(request, timeout=PATIENCE_SECONDS))
    expect(error.details() == message, f"{message!r}, got {error.details()!r}")
    requests = iter([messages_pb2.StreamingOutputCallRequest(response_status=wanted)])
    outputs = stub.FullDuplexCall(requests, timeout=PATIENCE_SECONDS)
    error = fails_with(grpc.StatusCode.UNKNOWN, lambda: next(outputs))
    expect(error.details() == message, f"{message!r} on the stream, got {error.details()!r}")


def special_status_message(stub):
    status_code_and_message(stub, SPECIAL_MESSAGE)


def every_status_code(stub):
    for code in grpc.StatusCode:
        if code is grpc.StatusCode.OK:
            continue
        status = messages_pb2.EchoStatus(code=code.value[0], message=code.name)
        request = messages_pb2.SimpleRequest(response_status=status)
        error = fails_with(code, lambda request=request: stub.UnaryCall(request, timeout=PATIENCE_SECONDS))
        expect(error.details() == code.name, f"{code.name}, got {error.details()!r}")


def custom_metadata(stub):
    # Lengths 1, 2, 3: each way base64 can end. All 256 octets: nothing binary is special.
    for binary in [b"\xab\xab\xab", b"\x00", b"\xff\xfe", bytes(range(256))]:
        sent = [(ECHO_INITIAL, "test_initial_metadata_value"), (ECHO_TRAILING, binary)]
        has_echo(unary(stub, LARGE_REQUEST, LARGE_RESPONSE, metadata=sent), binary)
        requests = iter([ping(LARGE_REQUEST, LARGE_RESPONSE)])
        outputs = stub.FullDuplexCall(requests, metadata=sent, timeout=PATIENCE_SECONDS)
        sizes = [len(output.payload.body) for output in outputs]
        expect(sizes == [LARGE_RESPONSE], f"one answer, got {sizes}")
        has_echo(outputs, binary)


def has_echo(call, binary):
    initial = dict(call.initial_metadata()).get(ECHO_INITIAL)
    expect(initial == "test_initial_metadata_value", f"the initial metadata, got {initial!r}")
    trailing = dict(call.trailing_metadata()).get(ECHO_TRAILING)
    expect(trailing == binary, f"trailing metadata {binary!r}, got {trailing!r}")


def unimplemented_method(stub):
    fails_with(
        grpc.StatusCode.UNIMPLEMENTED, lambda: stub.UnimplementedCall(empty_pb2.Empty(), timeout=PATIENCE_SECONDS)
    )


def unimplemented_service(stub):
    other = test_pb2_grpc.UnimplementedServiceStub(stub.channel)
    fails_with(
        grpc.StatusCode.UNIMPLEMENTED, lambda: other.UnimplementedCall(empty_pb2.Empty(), timeout=PATIENCE_SECONDS)
    )


def thousand_concurrent_unary(stub):
    """1,000 calls in flight on one connection, each with an answer of its own size."""
    calls = []
    for size in range(1000):
        request = messages_pb2.SimpleRequest(response_size=size, payload=zeros(size))
        calls.append(stub.UnaryCall.future(request, timeout=PATIENCE_SECONDS))
    done, _ = concurrent.futures.wait([resolved(call) for call in calls], timeout=PATIENCE_SECONDS)
    expect(len(done) == len(calls), f"1,000 answers, got {len(done)}")
    for size, call in enumerate(calls):
        got = len(call.result().payload.body)
        expect(got == size, f"{size} octets, got {got}")


def resolved(call):
    """A standard future that ends when the call does."""
    future = concurrent.futures.Future()
    call.add_done_callback(lambda _: future.set_result(None))
    return future


CASES = [
    empty_unary,
    large_unary,
    client_streaming,
    server_streaming,
    ping_pong,
    empty_stream,
    timeout_on_sleeping_server,
    cancel_after_begin,
    cancel_after_first_response,
    status_code_and_message,
    special_status_message,
    custom_metadata,
    unimplemented_method,
    unimplemented_service,
    client_compressed_unary,
    server_compressed_unary,
    client_compressed_streaming,
    server_compressed_streaming,
    # Ours:
    every_status_code,
    largest_message,
    too_large_message,
    long_download,
    long_upload,
    deadline_in_a_sleeping_handler,
    cancel_is_seen,
    thousand_concurrent_unary,
]


def run(case, stub):
    start = time.monotonic()
    try:
        case(stub)
    except (Failed, grpc.RpcError, StopIteration) as error:
        print(f"{case.__name__}: FAILED: {error!r}", flush=True)
        return False
    print(f"{case.__name__}: ok ({time.monotonic() - start:.2f} s)", flush=True)
    return True


def main():
    names = {case.__name__: case for case in CASES}
    flags = argparse.ArgumentParser(description="grpcio's client against grpc.testing.TestService")
    flags.add_argument("--server_host", default="127.0.0.1")
    flags.add_argument("--server_port", type=int, required=True)
    flags.add_argument("--use_tls", default="false", choices=["true", "false"])
    flags.add_argument("--use_test_ca", default="false", choices=["true", "false"])
    flags.add_argument("--ca_file", help="PEM file of the authority to trust, with --use_tls=true")
    flags.add_argument("--server_host_override", help="the name the server's certificate must be for")
    flags.add_argument("--test_case", default="all", choices=["all", *names], metavar="C")
    asked = flags.parse_args()
    wanted = CASES if asked.test_case == "all" else [names[asked.test_case]]
    with channel_for(asked) as channel:
        stub = test_pb2_grpc.TestServiceStub(channel)
        stub.channel = channel
        results = [run(case, stub) for case in wanted]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()

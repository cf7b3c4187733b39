"""Both ends of a chain, on grpcio, with the project's `chain-server` in the middle.

    python calls.py --program PATH/TO/chain-server

Prints `NAME: ok` for each check and ends with 0, or says what was wrong and ends with 1. Checked: a client's deadline at our server
and at the server behind it, cancellation the same way, and every standard detail of a google.rpc.Status in both directions;
the descriptors of proto/google/rpc/ against those that googleapis publishes.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import any_pb2, descriptor_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
LIMIT_SECONDS = 10


class Chain:
    """The last server of the chain: the methods of chain.Chain, as plain octets."""

    def __init__(self):
        self.ends = []
        self.waiting = threading.Semaphore(0)

    def ask(self, _request, context):
        left = context.time_remaining()
        # Without a deadline grpcio says it is some centuries away.
        return b"-1" if left is None or left > 1e8 else str(int(left * 1000)).encode()

    def wait(self, request, context):
        over = threading.Event()
        context.add_callback(over.set)
        self.waiting.release()
        over.wait(LIMIT_SECONDS)
        late = context.time_remaining() is not None and context.time_remaining() <= 0.002
        self.ends.append(f"{request.decode()} {'late' if late else 'cancelled'}")
        return b""

    def fail(self, _request, context):
        context.abort_with_status(rpc_status.to_status(rich()))

    def handlers(self):
        methods = {"Ask": self.ask, "Wait": self.wait, "Fail": self.fail}
        return grpc.method_handlers_generic_handler(
            "chain.Chain", {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
        )


def details():
    """Every standard detail, with every field."""
    quota = error_details_pb2.QuotaFailure.Violation(
        subject="project:1",
        description="used up",
        api_service="shop.example",
        quota_metric="orders",
        quota_id="OrdersPerDay",
        quota_dimensions={"region": "eu"},
        quota_value=100,
        future_quota_value=200,
    )
    field = error_details_pb2.BadRequest.FieldViolation(
        field="name",
        description="is empty",
        reason="NAME_EMPTY",
        localized_message=error_details_pb2.LocalizedMessage(locale="de", message="fehlt"),
    )
    condition = error_details_pb2.PreconditionFailure.Violation(
        type="TOS", subject="shop.example", description="agree first"
    )
    link = error_details_pb2.Help.Link(description="how to order", url="https://shop.example/order")
    return [
        error_details_pb2.ErrorInfo(reason="STOCKOUT", domain="shop.example", metadata={"item": "7"}),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
        error_details_pb2.DebugInfo(stack_entries=["here", "there"], detail="it fell"),
        error_details_pb2.QuotaFailure(violations=[quota]),
        error_details_pb2.PreconditionFailure(violations=[condition]),
        error_details_pb2.BadRequest(field_violations=[field]),
        error_details_pb2.RequestInfo(request_id="42", serving_data="shard 3"),
        error_details_pb2.ResourceInfo(
            resource_type="book", resource_name="books/1", owner="somebody", description="is lent"
        ),
        error_details_pb2.Help(links=[link]),
        error_details_pb2.LocalizedMessage(locale="de-CH", message="Ausverkauft"),
        # One that our side knows nothing of.
        status_pb2.Status(code=1, message="inside"),
    ]


def rich():
    status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="sold out: überall")
    for detail in details():
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def call(channel, method):
    return channel.unary_unary(f"/chain.Chain/{method}")


def failure(channel, method, **options):
    try:
        call(channel, method)(b"m", timeout=LIMIT_SECONDS, **options)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"{method} went well")


def deadline_travels(channel, _chain):
    ours, theirs = map(int, call(channel, "Ask")(b"", timeout=5).split())
    assert 4000 < ours <= 5000, ours
    assert ours - 1000 < theirs <= ours - 20, (ours, theirs)


def no_deadline_is_made_up(channel, _chain):
    assert call(channel, "Ask")(b"").split() == [b"-1", b"-1"]


def deadline_passes_at_our_server(channel, _chain):
    start = time.monotonic()
    try:
        call(channel, "Wait")(b"deadline", timeout=0.2)
        raise AssertionError("it went well")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert 0.19 < time.monotonic() - start < 2
    until(lambda: b"deadline late" in call(channel, "Ends")(b"").split(b"\n"))


def cancel_reaches_our_server(channel, _chain):
    future = call(channel, "Wait").future(b"cancel", timeout=LIMIT_SECONDS)
    time.sleep(0.1)
    assert future.cancel()
    until(lambda: b"cancel cancelled" in call(channel, "Ends")(b"").split(b"\n"))


def deadline_passes_through(channel, chain):
    try:
        call(channel, "Follow")(b"deadline through", timeout=0.3)
        raise AssertionError("it went well")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    until(lambda: any(end.startswith("deadline through") for end in chain.ends))


def cancel_passes_through(channel, chain):
    future = call(channel, "Follow").future(b"cancel through", timeout=LIMIT_SECONDS)
    assert chain.waiting.acquire(timeout=LIMIT_SECONDS)
    # The one of the deadline may have left its mark.
    chain.waiting.acquire(timeout=0.2)
    assert future.cancel()
    until(lambda: "cancel through cancelled" in chain.ends)


def our_details_are_read(channel, _chain):
    error = failure(channel, "Fail")
    status = rpc_status.from_call(error)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status.message == error.details() == "sold out: überall"
    assert len(status.details) == 10
    for packed, wanted in zip(status.details, details()):
        found = type(wanted)()
        assert packed.Unpack(found), packed.type_url
        if isinstance(wanted, error_details_pb2.QuotaFailure):
            wanted = type(wanted)(violations=[{"subject": "project:1", "description": "used up"}])
        if isinstance(wanted, error_details_pb2.BadRequest):
            wanted = type(wanted)(field_violations=[{"field": "name", "description": "is empty"}])
        assert found == wanted, (found, wanted)


def details_come_back_as_they_went(channel, _chain):
    status = rpc_status.from_call(failure(channel, "Relay"))
    assert status == rich(), status


def fields(parent, prefix=""):
    """Name, number and type of every field of a file or a message."""
    messages = getattr(parent, "message_type", None) or getattr(parent, "nested_type", ())
    for message in messages:
        for field in message.field:
            yield (f"{prefix}{message.name}.{field.name}", field.number, field.type, field.type_name, field.label)
        yield from fields(message, f"{prefix}{message.name}.")


def protos_are_those_that_are_published(_channel, _chain):
    for name, published in {"status": status_pb2, "error_details": error_details_pb2}.items():
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/set.bin"
            arguments = ["protoc", f"-I{PROTO}", f"-I{pathlib.Path(protoc.__file__).parent / '_proto'}"]
            assert protoc.main([*arguments, f"--descriptor_set_out={path}", f"google/rpc/{name}.proto"]) == 0
            ours = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(path).read_bytes()).file[0]
        theirs = descriptor_pb2.FileDescriptorProto()
        published.DESCRIPTOR.CopyToProto(theirs)
        ours, theirs = sorted(fields(ours)), sorted(fields(theirs))
        assert ours and ours == theirs, (ours, theirs)


CHECKS = [
    deadline_travels,
    no_deadline_is_made_up,
    deadline_passes_at_our_server,
    cancel_reaches_our_server,
    deadline_passes_through,
    cancel_passes_through,
    our_details_are_read,
    details_come_back_as_they_went,
    protos_are_those_that_are_published,
]


def until(condition):
    end = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    program = parser.parse_args().program
    chain = Chain()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers([chain.handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    arguments = [program, "--port", "0", "--next", f"127.0.0.1:{port}"]
    failed = 0
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as middle:
        try:
            address = middle.stdout.readline().split()[-1]
            with grpc.insecure_channel(address) as channel:
                for check in CHECKS:
                    try:
                        check(channel, chain)
                        print(f"{check.__name__}: ok", flush=True)
                    except Exception as error:  # pylint: disable=broad-except
                        failed += 1
                        print(f"{check.__name__}: FAILED: {error!r}", flush=True)
        finally:
            middle.kill()
    server.stop(None)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""grpcio's TLS, for both sides: a server that says who asked, and a client that asks.

    python tls.py server --port N [--cert FILE --key FILE [--client_ca FILE]]
    python tls.py client --target HOST:PORT [--ca FILE --name NAME [--cert FILE --key FILE]]

Without --cert (server) or --ca (client) it speaks cleartext. The client prints the answer, or why there is none, and exits 1.
"""

import argparse
import concurrent.futures
import sys

import grpc

METHOD = "/clearway.Tls/Who"
PATIENCE_SECONDS = 5


def read(path):
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


class Who(grpc.GenericRpcHandler):
    """Answers every method with who asked."""

    def service(self, _details):
        return grpc.unary_unary_rpc_method_handler(self.answer)

    @staticmethod
    def answer(_request, context):
        names = [name.decode() for name in context.peer_identities() or []]
        spiffe = [name for name in names if name.startswith("spiffe://")]
        kind = b"".join(context.auth_context().get("transport_security_type", [])).decode()
        return f"{(spiffe or ['nobody'])[0]} over {kind or 'cleartext'}".encode()


def serve(asked):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), handlers=[Who()])
    address = f"127.0.0.1:{asked.port}"
    if asked.cert is None:
        server.add_insecure_port(address)
    else:
        pair = (read(asked.key), read(asked.cert))
        roots = read(asked.client_ca)
        credentials = grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)
        server.add_secure_port(address, credentials)
    server.start()
    server.wait_for_termination()


def ask(asked):
    if asked.ca is None:
        channel = grpc.insecure_channel(asked.target)
    else:
        credentials = grpc.ssl_channel_credentials(read(asked.ca), read(asked.key), read(asked.cert))
        options = [("grpc.ssl_target_name_override", asked.name)] if asked.name else []
        channel = grpc.secure_channel(asked.target, credentials, options=options)
    try:
        print(channel.unary_unary(METHOD)(b"", timeout=PATIENCE_SECONDS).decode())
    except grpc.RpcError as error:
        print(f"{error.code()}: {error.details()}")
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["server", "client"])
    for name in ["port", "target", "cert", "key", "ca", "client_ca", "name"]:
        parser.add_argument(f"--{name}")
    asked = parser.parse_args()
    serve(asked) if asked.side == "server" else ask(asked)


main()

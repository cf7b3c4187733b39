"""Retries as Google's own gRPC makes them: a client of the suite `retries`, with the flags and the output of interop/retries.

    python retries.py client --target H:P --service_config_json JSON --kind unary|upload --calls N --script S [--timeout MS]
"""

import argparse
import os

import grpc


def attempt(channel, kind, metadata, timeout):
    """One call; its code."""
    try:
        if kind == "unary":
            channel.unary_unary("/clearway.Retries/Unary")(b"message", metadata=metadata, timeout=timeout)
        else:
            parts = iter([b"a", b"bb", b"ccc"])
            channel.stream_unary("/clearway.Retries/Upload")(parts, metadata=metadata, timeout=timeout)
        return 0
    except grpc.RpcError as error:
        return error.code().value[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["client"])
    parser.add_argument("--target", required=True)
    parser.add_argument("--service_config_json", default="{}")
    parser.add_argument("--kind", default="unary")
    parser.add_argument("--script", default="ok")
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=10000)
    asked = parser.parse_args()
    options = [("grpc.service_config", asked.service_config_json), ("grpc.enable_retries", 1)]
    with grpc.insecure_channel(asked.target, options=options) as channel:
        for n in range(asked.calls):
            name = ("x-call", f"py-{os.getpid()}-{n}")
            code = attempt(channel, asked.kind, [name, ("x-script", asked.script)], asked.timeout / 1000)
            report = channel.unary_unary("/clearway.Retries/Report")(b"", metadata=[name])
            print(f"code={code} {report.decode()}")


if __name__ == "__main__":
    main()

"""Classes and stubs for grpc.testing, generated at import from the project's own proto/ directory.

Nothing generated is kept: a peer must not be able to disagree with proto/ because somebody forgot to run a tool.
"""

import pathlib
import sys
import tempfile

import grpc_tools
from grpc_tools import protoc

_PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
_FILES = ["grpc/testing/empty.proto", "grpc/testing/messages.proto", "grpc/testing/test.proto"]


def _generate(into):
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    # Python knows the package by its path, and `grpc` is taken by the library: give the files a root of their own.
    for name in _FILES:
        text = (_PROTO / name).read_text().replace('import "grpc/testing/', 'import "clearway_testing/')
        target = pathlib.Path(into, "proto", "clearway_testing", pathlib.Path(name).name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    root = pathlib.Path(into, "proto")
    code = protoc.main(
        ["protoc", f"-I{root}", f"-I{well_known}", f"--python_out={into}", f"--grpc_python_out={into}"]
        + [str(path) for path in sorted(root.glob("clearway_testing/*.proto"))]
    )
    if code != 0:
        raise SystemExit(f"protoc refused proto/grpc/testing with code {code}")


with tempfile.TemporaryDirectory(prefix="clearway-protos-") as _directory:
    _generate(_directory)
    sys.path.insert(0, _directory)
    try:
        from clearway_testing import empty_pb2, messages_pb2, test_pb2_grpc  # noqa: F401
    finally:
        sys.path.remove(_directory)

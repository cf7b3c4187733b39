"""Decodes header blocks with python-hpack, for the program hpack-judges.

Lines come on standard input: `new` (a fresh table of 4,096 octets), `limit N` (the setting that was acknowledged), `block HEX`.
Each block is answered on one line: `ok NAME=VALUE ...` in hex, or `bad REASON`. After `bad` the context is lost until `new`.
"""

import sys

from hpack import Decoder
from hpack.exceptions import HPACKError


def main() -> None:
    decoder = None
    for line in sys.stdin:
        verb, _, rest = line.rstrip("\n").partition(" ")
        if verb == "new":
            decoder = Decoder(max_header_list_size=1 << 30)
        elif verb == "limit":
            decoder.max_allowed_table_size = int(rest)
        else:
            print(answer(decoder, bytes.fromhex(rest)))


def answer(decoder: Decoder, block: bytes) -> str:
    try:
        fields = decoder.decode(block, raw=True)
    except HPACKError as error:
        return "bad " + type(error).__name__ + ": " + str(error).replace("\n", " ")
    except Exception as error:  # it must not: the caller sees that it did
        return "bad CRASH " + type(error).__name__ + ": " + str(error).replace("\n", " ")
    return "ok" + "".join(f" {name.hex()}={value.hex()}" for name, value in fields)


main()

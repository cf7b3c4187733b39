// Decodes header blocks with golang.org/x/net/http2/hpack, for the program hpack-judges. It speaks the lines of judge.py.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<16)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	var decoder *hpack.Decoder
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch verb {
		case "new":
			decoder = hpack.NewDecoder(4096, nil)
		case "limit":
			limit, err := strconv.ParseUint(rest, 10, 32)
			if err != nil {
				panic(err)
			}
			decoder.SetAllowedMaxDynamicTableSize(uint32(limit))
		default:
			block, err := hex.DecodeString(rest)
			if err != nil {
				panic(err)
			}
			fmt.Fprintln(out, answer(decoder, block))
		}
	}
}

func answer(decoder *hpack.Decoder, block []byte) string {
	fields, err := decoder.DecodeFull(block)
	if err != nil {
		return "bad " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	var text strings.Builder
	text.WriteString("ok")
	for _, field := range fields {
		fmt.Fprintf(&text, " %x=%x", field.Name, field.Value)
	}
	return text.String()
}

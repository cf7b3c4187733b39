// Package echo is bench.Echo for grpc-go without generated code, so that nothing but Go is needed to build it.
//
// Messages are read and written by hand with the Protobuf runtime's own wire functions: one field of bytes, copied out of
// the received message as the generated code would. This is less work than protobuf-go's reflection does, never more.
package echo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Msg is bench.Msg.
type Msg struct{ Payload []byte }

// StreamReq is bench.StreamReq.
type StreamReq struct{ Count, Size uint64 }

// Codec encodes and decodes the two messages. It stands in for the codec named proto.
type Codec struct{}

// Name of the content-subtype.
func (Codec) Name() string { return "proto" }

// Marshal a Msg or a StreamReq.
func (Codec) Marshal(v any) ([]byte, error) {
	switch m := v.(type) {
	case *Msg:
		out := make([]byte, 0, 1+protowire.SizeBytes(len(m.Payload)))
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		return protowire.AppendBytes(out, m.Payload), nil
	case *StreamReq:
		out := protowire.AppendTag(nil, 1, protowire.VarintType)
		out = protowire.AppendVarint(out, m.Count)
		out = protowire.AppendTag(out, 2, protowire.VarintType)
		return protowire.AppendVarint(out, m.Size), nil
	}
	return nil, fmt.Errorf("cannot encode %T", v)
}

// Unmarshal a Msg or a StreamReq. Fields that are unknown are skipped.
func (Codec) Unmarshal(data []byte, v any) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		size := protowire.ConsumeFieldValue(number, kind, data)
		if size < 0 {
			return protowire.ParseError(size)
		}
		switch m := v.(type) {
		case *Msg:
			if number == 1 && kind == protowire.BytesType {
				value, _ := protowire.ConsumeBytes(data)
				m.Payload = append([]byte(nil), value...)
			}
		case *StreamReq:
			if kind == protowire.VarintType {
				value, _ := protowire.ConsumeVarint(data)
				switch number {
				case 1:
					m.Count = value
				case 2:
					m.Size = value
				}
			}
		default:
			return fmt.Errorf("cannot decode %T", v)
		}
		data = data[size:]
	}
	return nil
}

// CPUTime is how long all threads of this process ran so far, as the scheduler counts it.
func CPUTime() (time.Duration, error) {
	files, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil || len(files) == 0 {
		return 0, errors.New("no /proc/self/task/*/schedstat")
	}
	var total time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			// A thread that has ended meanwhile.
			continue
		}
		run, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(run)
	}
	return total, nil
}

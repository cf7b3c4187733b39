// The interop suite's calls on grpc-go with gzip, which its own programs do not have.
//
//	compressing --port N                                     a server: it answers as it is asked, gzip with gzip
//	compressing --server_host H --server_port N              a client: one line for each case, exits 1 when one failed
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/status"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

var (
	port       = flag.Int("port", 0, "serve on 127.0.0.1 here")
	serverHost = flag.String("server_host", "127.0.0.1", "call a server there")
	serverPort = flag.Int("server_port", 0, "call a server on this port")
	_          = flag.String("test_case", "all", "all there are")
)

func main() {
	flag.Parse()
	var err error
	if *port != 0 {
		err = serve()
	} else {
		err = call()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	return server.Serve(listener)
}

func call() error {
	compressed := grpc.UseCompressor(gzip.Name)
	target := fmt.Sprintf("%s:%d", *serverHost, *serverPort)
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := testgrpc.NewTestServiceClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// These end the program when they fail.
	ran := func(name string) { fmt.Printf("%s: ok\n", name) }
	interop.DoEmptyUnaryCall(ctx, client, compressed)
	ran("gzip_empty_unary")
	interop.DoLargeUnaryCall(ctx, client, compressed)
	ran("gzip_large_unary")
	interop.DoClientStreaming(ctx, client, compressed)
	ran("gzip_client_streaming")
	interop.DoServerStreaming(ctx, client, compressed)
	ran("gzip_server_streaming")
	interop.DoPingPong(ctx, client, compressed)
	ran("gzip_ping_pong")
	interop.DoCustomMetadata(ctx, client, compressed)
	ran("gzip_custom_metadata")
	for name, test := range map[string]func(context.Context, testgrpc.TestServiceClient) error{
		"client_compressed_unary":     clientCompressedUnary,
		"server_compressed_unary":     serverCompressedUnary,
		"server_compressed_streaming": serverCompressedStreaming,
	} {
		if err := test(ctx, client); err != nil {
			return fmt.Errorf("%s: FAILED: %w", name, err)
		}
		ran(name)
	}
	return nil
}

func large(expect, want *testpb.BoolValue) *testpb.SimpleRequest {
	payload := &testpb.Payload{Body: make([]byte, 271828)}
	return &testpb.SimpleRequest{ResponseSize: 314159, Payload: payload, ExpectCompressed: expect, ResponseCompressed: want}
}

func flagged(value bool) *testpb.BoolValue { return &testpb.BoolValue{Value: value} }

// A request must have come as it says.
func clientCompressedUnary(ctx context.Context, client testgrpc.TestServiceClient) error {
	gzipped := grpc.UseCompressor(gzip.Name)
	if _, err := client.UnaryCall(ctx, large(flagged(true), nil)); status.Code(err) != codes.InvalidArgument {
		return fmt.Errorf("%v, want INVALID_ARGUMENT for a request that is not compressed", err)
	}
	if _, err := client.UnaryCall(ctx, large(flagged(true), nil), gzipped); err != nil {
		return err
	}
	_, err := client.UnaryCall(ctx, large(flagged(false), nil))
	return err
}

func serverCompressedUnary(ctx context.Context, client testgrpc.TestServiceClient) error {
	for _, want := range []bool{true, false} {
		response, err := client.UnaryCall(ctx, large(nil, flagged(want)))
		if err != nil {
			return err
		}
		if got := len(response.GetPayload().GetBody()); got != 314159 {
			return fmt.Errorf("%d octets, want 314159", got)
		}
	}
	return nil
}

func serverCompressedStreaming(ctx context.Context, client testgrpc.TestServiceClient) error {
	request := &testpb.StreamingOutputCallRequest{ResponseParameters: []*testpb.ResponseParameters{
		{Size: 31415, Compressed: flagged(true)},
		{Size: 92653, Compressed: flagged(false)},
	}}
	stream, err := client.StreamingOutputCall(ctx, request)
	if err != nil {
		return err
	}
	for _, want := range []int{31415, 92653} {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		if got := len(response.GetPayload().GetBody()); got != want {
			return fmt.Errorf("%d octets, want %d", got, want)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%v, want the end", err)
	}
	return nil
}

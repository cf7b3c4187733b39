// grpc-go as the other end of keepalive: a server with an enforcement policy, a client that asks a silent server, and a client that
// downloads for a while, whose PINGs measure the bandwidth.
//
//	go-keepalive server -listen A [-min_time D] [-permit_without_stream]
//	go-keepalive hold -to A -time D [-timeout D] [-permit_without_stream] [-for D]
//	go-keepalive download -to A -for D
//
// A server prints "listening on A". The others print one line about the end: "held", "ended after D: <error>" or
// "downloaded N bytes over C connections".
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

var (
	listen  = flag.String("listen", "127.0.0.1:0", "where to listen")
	to      = flag.String("to", "", "whom to call")
	minTime = flag.Duration("min_time", 5*time.Minute, "EnforcementPolicy.MinTime")
	permit  = flag.Bool("permit_without_stream", false, "PermitWithoutStream")
	every   = flag.Duration("time", time.Hour, "ClientParameters.Time")
	timeout = flag.Duration("timeout", 20*time.Second, "ClientParameters.Timeout")
	hold    = flag.Duration("for", time.Minute, "how long")
)

func main() {
	if len(os.Args) < 2 {
		fail("want server, hold or download")
	}
	verb := os.Args[1]
	flag.CommandLine.Parse(os.Args[2:])
	switch verb {
	case "server":
		serve()
	case "hold":
		holdCall()
	case "download":
		download()
	default:
		fail("want server, hold or download, not " + verb)
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, "go-keepalive: "+why)
	os.Exit(2)
}

func serve() {
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fail(err.Error())
	}
	policy := keepalive.EnforcementPolicy{MinTime: *minTime, PermitWithoutStream: *permit}
	server := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(policy))
	testpb.RegisterTestServiceServer(server, interop.NewTestServer())
	fmt.Println("listening on", listener.Addr())
	fail(server.Serve(listener).Error())
}

// Counts connections.
type counter struct{ connections atomic.Int64 }

func (c *counter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (c *counter) HandleRPC(context.Context, stats.RPCStats)                       {}
func (c *counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}
func (c *counter) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnBegin); ok {
		c.connections.Add(1)
	}
}

func connect(options ...grpc.DialOption) testpb.TestServiceClient {
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient("passthrough:///"+*to, options...)
	if err != nil {
		fail(err.Error())
	}
	return testpb.NewTestServiceClient(conn)
}

func holdCall() {
	params := keepalive.ClientParameters{Time: *every, Timeout: *timeout, PermitWithoutStream: *permit}
	client := connect(grpc.WithKeepaliveParams(params))
	ctx, cancel := context.WithTimeout(context.Background(), *hold)
	defer cancel()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		fail(err.Error())
	}
	began := time.Now()
	fmt.Println("open")
	_, err = stream.Recv()
	// The server keeps the deadline, too, and may say so first.
	if ctx.Err() != nil || status.Code(err) == codes.DeadlineExceeded {
		fmt.Println("held")
		return
	}
	fmt.Printf("ended after %.1fs: %v\n", time.Since(began).Seconds(), err)
}

func download() {
	var count counter
	client := connect(grpc.WithStatsHandler(&count))
	var bytes int64
	for until := time.Now().Add(*hold); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		request := &testpb.StreamingOutputCallRequest{}
		for range 16 {
			request.ResponseParameters = append(request.ResponseParameters, &testpb.ResponseParameters{Size: 256 * 1024})
		}
		stream, err := client.StreamingOutputCall(context.Background(), request)
		if err != nil {
			fail(err.Error())
		}
		for {
			reply, err := stream.Recv()
			if err != nil {
				if err.Error() != "EOF" {
					fail(err.Error())
				}
				break
			}
			bytes += int64(len(reply.GetPayload().GetBody()))
		}
	}
	fmt.Printf("downloaded %d bytes over %d connections\n", bytes, count.connections.Load())
}

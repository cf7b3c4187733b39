// life-peer is grpc-go on the other side of connections that do not live long.
//
//	life-peer load PORT         calls grpc.testing.TestService until standard input ends, and counts failures
//	life-peer serve PORT AGE    serves it, with connections of that age at most (keepalive.ServerParameters)
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
)

const (
	tasks    = 16
	messages = 10
	gap      = 10 * time.Millisecond
)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "load":
		err = load(os.Args[2])
	case len(os.Args) == 4 && os.Args[1] == "serve":
		err = serve(os.Args[2], os.Args[3])
	default:
		err = fmt.Errorf("usage: life-peer load PORT | life-peer serve PORT AGE")
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func serve(port, age string) error {
	life, err := time.ParseDuration(age)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: life}))
	pb.RegisterTestServiceServer(server, interop.NewTestServer())
	return server.Serve(listener)
}

func load(port string) error {
	conn, err := grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := pb.NewTestServiceClient(conn)
	var stop atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	var calls, failed atomic.Int64
	var group sync.WaitGroup
	for task := range tasks {
		group.Add(1)
		go func() {
			defer group.Done()
			for !stop.Load() {
				call := unary
				if task%2 == 1 {
					call = chat
				}
				calls.Add(1)
				if err := call(client); err != nil && failed.Add(1) <= 10 {
					fmt.Println("failed:", err)
				}
			}
		}()
	}
	group.Wait()
	fmt.Printf("%d calls, %d failed\n", calls.Load(), failed.Load())
	if failed.Load() > 0 || calls.Load() == 0 {
		os.Exit(1)
	}
	return nil
}

func unary(client pb.TestServiceClient) error {
	_, err := client.EmptyCall(context.Background(), &pb.Empty{})
	time.Sleep(time.Millisecond)
	return err
}

func chat(client pb.TestServiceClient) error {
	stream, err := client.FullDuplexCall(context.Background())
	if err != nil {
		return err
	}
	for range messages {
		time.Sleep(gap)
		request := &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 1}}}
		if err := stream.Send(request); err != nil {
			// The status is what Recv says.
			break
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != io.EOF {
		return fmt.Errorf("want the end of the stream, got %v", err)
	}
	return nil
}

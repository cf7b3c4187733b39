// Command server is bench.Echo on grpc-go with its defaults. GOMAXPROCS says how many threads run Go code.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"

	"clearway-peers/echo"

	"google.golang.org/grpc"
)

func unary(yield bool) func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
	return func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := new(echo.Msg)
		if err := decode(request); err != nil {
			return nil, err
		}
		if yield {
			runtime.Gosched()
		}
		return &echo.Msg{Payload: request.Payload}, nil
	}
}

func serverStream(_ any, stream grpc.ServerStream) error {
	request := new(echo.StreamReq)
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	for range request.Count {
		if err := stream.SendMsg(&echo.Msg{Payload: make([]byte, request.Size)}); err != nil {
			return err
		}
	}
	return nil
}

func bidi(_ any, stream grpc.ServerStream) error {
	for {
		message := new(echo.Msg)
		if err := stream.RecvMsg(message); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(message); err != nil {
			return err
		}
	}
}

func main() {
	port := flag.Int("port", 0, "listen on 127.0.0.1:PORT")
	version := flag.Bool("version", false, "print what this is built on")
	flag.Parse()
	if *version {
		fmt.Printf("grpc-go %s, %s\n", grpc.Version, runtime.Version())
		return
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(echo.Codec{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Unary", Handler: unary(false)},
			{MethodName: "Yield", Handler: unary(true)},
		},
		Streams: []grpc.StreamDesc{
			{StreamName: "ServerStream", Handler: serverStream, ServerStreams: true},
			{StreamName: "Bidi", Handler: bidi, ServerStreams: true, ClientStreams: true},
		},
	}, struct{}{})
	fmt.Fprintf(os.Stdout, "listening on %s\n", listener.Addr())
	log.Fatal(server.Serve(listener))
}

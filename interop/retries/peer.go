// Retries as grpc-go makes them, and a server that fails on request: the other half of the suite `retries`.
//
//	go-retries server --port N
//	go-retries client --target H:P --service_config_json JSON --kind unary|upload --calls N --script S [--timeout MS]
//
// A script is what the server does with one call, attempt by attempt, separated by commas; the last step repeats:
//
//	ok        answers
//	14        fails with code 14, Trailers-Only
//	14:50     the same, with grpc-retry-pushback-ms 50
//	14:-1     the same, with grpc-retry-pushback-ms -1
//	h14       sends a head, then fails with code 14
//
// Every call carries its script and a name of its own in metadata. The client prints one line for each call: its code, and what the
// server saw of it (method Report): attempts, their grpc-previous-rpc-attempts, how many came before the push-back was over,
// how many brought another request than the first.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Octets as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// What is known of one call.
type call struct {
	attempts  int
	previous  []string
	notBefore time.Time
	early     int
	first     string
	different int
}

type server struct {
	mu    sync.Mutex
	calls map[string]*call
}

func one(md metadata.MD, key string) string {
	if values := md.Get(key); len(values) > 0 {
		return values[0]
	}
	return "-"
}

func (s *server) handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	md, _ := metadata.FromIncomingContext(stream.Context())
	name := one(md, "x-call")
	if strings.HasSuffix(method, "/Report") {
		var ignored []byte
		if err := stream.RecvMsg(&ignored); err != nil {
			return err
		}
		report := []byte(s.report(name))
		return stream.SendMsg(&report)
	}
	var whole []byte
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			break
		}
		whole = append(append(whole, message...), '|')
	}
	step := s.step(name, one(md, "x-script"), one(md, "grpc-previous-rpc-attempts"), string(whole))
	if step == "ok" {
		answer := []byte("done")
		return stream.SendMsg(&answer)
	}
	code, pushback, pushed := strings.Cut(strings.TrimPrefix(step, "h"), ":")
	number, _ := strconv.Atoi(code)
	if pushed {
		stream.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", pushback))
	}
	if strings.HasPrefix(step, "h") {
		if err := stream.SendHeader(nil); err != nil {
			return err
		}
	}
	return status.Error(codes.Code(number), "as asked")
}

func (s *server) step(name, script, previous, whole string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.calls[name]
	if known == nil {
		known = &call{first: whole}
		s.calls[name] = known
	}
	steps := strings.Split(script, ",")
	step := steps[min(known.attempts, len(steps)-1)]
	known.attempts++
	known.previous = append(known.previous, previous)
	if time.Now().Before(known.notBefore) {
		known.early++
	}
	if whole != known.first {
		known.different++
	}
	if _, pushback, ok := strings.Cut(step, ":"); ok {
		ms, _ := strconv.Atoi(pushback)
		known.notBefore = time.Now().Add(time.Duration(ms-1) * time.Millisecond)
	}
	return step
}

func (s *server) report(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.calls[name]
	if known == nil {
		known = &call{}
	}
	return fmt.Sprintf("attempts=%d previous=%s early=%d different=%d", known.attempts,
		strings.Join(known.previous, "/"), known.early, known.different)
}

func serve(port int) error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	s := &server{calls: map[string]*call{}}
	return grpc.NewServer(grpc.UnknownServiceHandler(s.handle), grpc.ForceServerCodecV2(raw{})).Serve(listener)
}

var upload = &grpc.StreamDesc{ClientStreams: true}

func attempt(ctx context.Context, channel *grpc.ClientConn, kind string) error {
	var answer []byte
	if kind == "unary" {
		message := []byte("message")
		return channel.Invoke(ctx, "/clearway.Retries/Unary", &message, &answer)
	}
	stream, err := channel.NewStream(ctx, upload, "/clearway.Retries/Upload")
	if err != nil {
		return err
	}
	for _, part := range []string{"a", "bb", "ccc"} {
		message := []byte(part)
		if err := stream.SendMsg(&message); err != nil {
			break
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(&answer)
}

func run(target, config, kind, script string, calls, timeout int) error {
	channel, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(config), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
	if err != nil {
		return err
	}
	defer channel.Close()
	for n := range calls {
		name := fmt.Sprintf("go-%d-%d", os.Getpid(), n)
		ctx := metadata.AppendToOutgoingContext(context.Background(), "x-call", name, "x-script", script)
		ctx, cancel := context.WithTimeout(ctx, time.Duration(timeout)*time.Millisecond)
		code := status.Code(attempt(ctx, channel, kind))
		cancel()
		var question, report []byte
		ctx = metadata.AppendToOutgoingContext(context.Background(), "x-call", name)
		if err := channel.Invoke(ctx, "/clearway.Retries/Report", &question, &report); err != nil {
			return err
		}
		fmt.Printf("code=%d %s\n", code, report)
	}
	return nil
}

func main() {
	flags := flag.NewFlagSet("go-retries", flag.ExitOnError)
	port := flags.Int("port", 0, "")
	target := flags.String("target", "", "")
	config := flags.String("service_config_json", "{}", "")
	kind := flags.String("kind", "unary", "")
	script := flags.String("script", "ok", "")
	calls := flags.Int("calls", 1, "")
	timeout := flags.Int("timeout", 10000, "")
	mode := "server"
	if len(os.Args) > 1 {
		mode = os.Args[1]
		_ = flags.Parse(os.Args[2:])
	}
	var err error
	if mode == "server" {
		err = serve(*port)
	} else {
		err = run(*target, *config, *kind, *script, *calls, *timeout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "go-retries:", err)
		os.Exit(1)
	}
}

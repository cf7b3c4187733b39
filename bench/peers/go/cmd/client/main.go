// Command client calls bench.Echo/Unary with grpc-go's client in a closed loop, checks what comes back, and prints one line
// of JSON.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"clearway-peers/echo"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	port := flag.Int("port", 0, "the server, on 127.0.0.1")
	requests := flag.Int64("requests", 1000, "calls in all")
	payload := flag.Int("payload", 20, "octets in each message")
	concurrency := flag.Int("concurrency", 1, "calls at a time on the one connection")
	flag.Parse()

	connection, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", *port),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(echo.Codec{})))
	if err != nil {
		log.Fatal(err)
	}
	message := &echo.Msg{Payload: make([]byte, *payload)}
	for index := range message.Payload {
		message.Payload[index] = byte(index)
	}
	call := func() {
		answer := new(echo.Msg)
		if err := connection.Invoke(context.Background(), "/bench.Echo/Unary", message, answer); err != nil {
			log.Fatal(err)
		}
		if !bytes.Equal(answer.Payload, message.Payload) {
			log.Fatal("the server sent back something else")
		}
	}
	// Connects.
	call()

	var left atomic.Int64
	left.Store(*requests)
	cpu, err := echo.CPUTime()
	if err != nil {
		log.Fatal(err)
	}
	start := time.Now()
	var callers sync.WaitGroup
	for range *concurrency {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				call()
			}
		})
	}
	callers.Wait()
	elapsed := time.Since(start)
	end, err := echo.CPUTime()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("{\"calls\":%d,\"seconds\":%.6f,\"client_cpu_seconds\":%.6f}\n",
		*requests, elapsed.Seconds(), (end - cpu).Seconds())
}

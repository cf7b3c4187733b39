// Command go-tls-peer is grpc-go's TLS, for both sides: a server that says who asked, and a client that asks.
//
//	go-tls-peer server -port N [-cert FILE -key FILE [-client_ca FILE]] [-max 1.2]
//	go-tls-peer client -target HOST:PORT [-ca FILE -name NAME [-cert FILE -key FILE]] [-max 1.2]
//
// Without -cert (server) or -ca (client) it speaks cleartext. The client prints the answer, or why there is none, and exits 1.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
)

var (
	port     = flag.Int("port", 0, "server: the port")
	target   = flag.String("target", "", "client: host:port")
	cert     = flag.String("cert", "", "PEM chain to show")
	key      = flag.String("key", "", "its key")
	ca       = flag.String("ca", "", "client: PEM authority to trust")
	clientCA = flag.String("client_ca", "", "server: PEM authority of clients")
	name     = flag.String("name", "", "client: the server's name")
	max      = flag.String("max", "1.3", "newest version of TLS")
)

// plain is a codec of messages that are text already.
type plain struct{}

func (plain) Name() string { return "proto" }

func (plain) Marshal(v any) ([]byte, error) { return []byte(*v.(*string)), nil }

func (plain) Unmarshal(data []byte, v any) error {
	*v.(*string) = string(data)
	return nil
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("want server or client"))
	}
	if err := flag.CommandLine.Parse(os.Args[2:]); err != nil {
		fail(err)
	}
	var err error
	switch os.Args[1] {
	case "server":
		err = serve()
	case "client":
		err = ask()
	default:
		err = errors.New("want server or client")
	}
	fail(err)
}

func fail(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func config() (*tls.Config, error) {
	config := &tls.Config{ServerName: *name}
	if *max == "1.2" {
		config.MaxVersion = tls.VersionTLS12
	}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	var err error
	if *ca != "" {
		config.RootCAs, err = pool(*ca)
	}
	if *clientCA != "" && err == nil {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.ClientCAs, err = pool(*clientCA)
	}
	return config, err
}

func pool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	pool := x509.NewCertPool()
	if err == nil && !pool.AppendCertsFromPEM(pem) {
		err = fmt.Errorf("%s: no certificate", file)
	}
	return pool, err
}

func serve() error {
	options := []grpc.ServerOption{grpc.ForceServerCodec(plain{}), grpc.UnknownServiceHandler(who)}
	if *cert != "" {
		config, err := config()
		if err != nil {
			return err
		}
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		return err
	}
	return grpc.NewServer(options...).Serve(listener)
}

func who(_ any, stream grpc.ServerStream) error {
	var nothing string
	if err := stream.RecvMsg(&nothing); err != nil {
		return err
	}
	answer := "nobody over cleartext"
	if from, ok := peer.FromContext(stream.Context()); ok {
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
			answer = "nobody over " + tls.VersionName(info.State.Version)
			if info.SPIFFEID != nil {
				answer = info.SPIFFEID.String() + " over " + tls.VersionName(info.State.Version)
			}
		}
	}
	return stream.SendMsg(&answer)
}

func ask() error {
	creds := insecure.NewCredentials()
	if *ca != "" {
		config, err := config()
		if err != nil {
			return err
		}
		creds = credentials.NewTLS(config)
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{}))}
	channel, err := grpc.NewClient("passthrough:///"+*target, options...)
	if err != nil {
		return err
	}
	defer channel.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var nothing, answer string
	if err := channel.Invoke(ctx, "/clearway.Tls/Who", &nothing, &answer); err != nil {
		return err
	}
	fmt.Println(answer)
	return nil
}

// Command sender is the sender of the xkeys tutorial, as a Go user writes it: it seals one text to
// the curve key that it is given, publishes it on secure.data and quits.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

const subject = "secure.data"

func main() {
	url := os.Getenv("NATS_URL")
	if url == "" {
		url = nats.DefaultURL
	}
	flag.StringVar(&url, "server", url, "URL of the NATS server")
	flag.Parse()
	if flag.NArg() < 1 || flag.NArg() > 2 {
		fmt.Fprintln(os.Stderr, "usage: sender [-server URL] RECEIVER [TEXT]")
		os.Exit(2)
	}
	text := "Hello Secure World"
	if flag.NArg() == 2 {
		text = flag.Arg(1)
	}
	if err := send(url, flag.Arg(0), text); err != nil {
		fmt.Fprintln(os.Stderr, "sender:", err)
		os.Exit(1)
	}
}

func send(url, receiver, text string) error {
	key, err := nkeys.CreateCurveKeys()
	if err != nil {
		return fmt.Errorf("making a curve key: %w", err)
	}
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("encoding the public key: %w", err)
	}

	nc, err := nats.Connect(url)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", url, err)
	}
	defer nc.Close()

	msg := nats.NewMsg(subject)
	// The receiver opens with this key: it says who sent, and proves it only to one who knows whose
	// key it is.
	msg.Header.Set("sender", public)
	if msg.Data, err = key.Seal([]byte(text), receiver); err != nil {
		return fmt.Errorf("sealing to %s: %w", receiver, err)
	}
	if err := nc.PublishMsg(msg); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	// Publishing only buffers: without this the program may quit before the message has left.
	if err := nc.Flush(); err != nil {
		return fmt.Errorf("waiting for the server: %w", err)
	}
	fmt.Printf(">> SENT %d bytes from %s to %s\n", len(msg.Data), public, receiver)
	return nil
}

// Command receiver is the receiver of the xkeys tutorial, as a Go user writes it: it makes a curve
// key, subscribes to secure.data and prints what it can open.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

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
	if err := receive(url); err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

func receive(url string) error {
	key, err := nkeys.CreateCurveKeys()
	if err != nil {
		return fmt.Errorf("making a curve key: %w", err)
	}
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("encoding the public key: %w", err)
	}
	fmt.Printf("Receiver Public Key: %s\n", public)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	nc, err := nats.Connect(url)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", url, err)
	}
	defer nc.Close()
	if _, err := nc.Subscribe(subject, func(msg *nats.Msg) { handle(key, msg) }); err != nil {
		return fmt.Errorf("subscribing to %s: %w", subject, err)
	}
	// The next line tells whoever reads it that a message sent now arrives: so the server has to
	// have the subscription first.
	if err := nc.Flush(); err != nil {
		return fmt.Errorf("waiting for the subscription: %w", err)
	}
	fmt.Println("Receiver is running, press Ctrl+C to stop")

	<-ctx.Done()
	return nil
}

// handle does what the tutorial does, unguarded on purpose: this is the peer that our programs meet
// in the field. (nkeys panics on a sender of more than 56 characters.)
func handle(key nkeys.KeyPair, msg *nats.Msg) {
	sender := msg.Header.Get("sender")
	fmt.Printf("Received message from %s\n", sender)
	text, err := key.Open(msg.Data, sender)
	if err != nil {
		fmt.Printf("Failed to decrypt message: %s\n", err)
		return
	}
	fmt.Printf("The sender sent us %q\n", text)
}

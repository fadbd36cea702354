// The peer that measures github.com/nats-io/nkeys: Seal and Open of curve keys.
//
// It reads `run OPERATION SIZE N` and answers with the nanoseconds that N operations took; see
// benchmarks/peer.py. Go's garbage collector runs before each batch, and as usual within it.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/nats-io/nkeys"
)

type side struct {
	keys   nkeys.KeyPair
	public string
}

func newSide() side {
	keys, err := nkeys.CreateCurveKeys()
	check(err)
	public, err := keys.PublicKey()
	check(err)
	return side{keys, public}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/nats-io/nkeys" {
			return module.Version
		}
	}
	return "?"
}

func run(alice, bob side, operation string, size, n int) time.Duration {
	data := bytes.Repeat([]byte{'x'}, size)
	sealed, err := alice.keys.Seal(data, bob.public)
	check(err)
	opened, err := bob.keys.Open(sealed, alice.public)
	check(err)
	if !bytes.Equal(opened, data) {
		log.Fatal("what was opened is not what was sealed")
	}
	runtime.GC()
	start := time.Now()
	switch operation {
	case "seal":
		for range n {
			_, err = alice.keys.Seal(data, bob.public)
			check(err)
		}
	case "open":
		for range n {
			_, err = bob.keys.Open(sealed, alice.public)
			check(err)
		}
	default:
		log.Fatalf("unknown operation %q", operation)
	}
	return time.Since(start)
}

func main() {
	alice, bob := newSide(), newSide()
	fmt.Printf("ready %s, nkeys %s\n", runtime.Version(), version())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var operation string
		var size, n int
		_, err := fmt.Sscanf(lines.Text(), "run %s %d %d", &operation, &size, &n)
		check(err)
		fmt.Println(run(alice, bob, operation, size, n).Nanoseconds())
	}
}

package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// endTxn is the API key of the request that commits.
const endTxn = 26

// loss is the network before the brokers: it can lose the answer to a commit that the broker has received and applied, and it can be
// cut. Who dials through it says first, on a line of its own, whom it wants to reach.
type loss struct {
	address string

	mu    sync.Mutex
	after int           // of the requests that commit, so many are still answered
	lost  chan struct{} // closed when an answer was lost; nil: none is to be

	conns   map[net.Conn]bool // both sides of what is forwarded
	refused chan struct{}     // takes one for each connection that is refused; nil: none is
}

// cut closes all connections and refuses new ones until mend. It returns how many there were, and a channel that takes one for
// each that is refused.
func (l *loss) cut() (int, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = make(chan struct{}, 1000)
	for c := range l.conns {
		c.Close()
	}
	return len(l.conns) / 2, l.refused
}

func (l *loss) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = nil
}

// open reports whether the network takes a connection, and keeps both of its sides for cut.
func (l *loss) open(child, broker net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused != nil {
		select {
		case l.refused <- struct{}{}:
		default: // enough for any test
		}
		return false
	}
	l.conns[child], l.conns[broker] = true, true
	return true
}

func (l *loss) closed(child, broker net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, child)
	delete(l.conns, broker)
}

// next arms it: the answer to the n-th EndTxn from now on is lost, and the channel closed then.
func (l *loss) next(n int) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.after, l.lost = n, make(chan struct{})
	return l.lost
}

func newLoss(t *testing.T) *loss {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &loss{address: ln.Addr().String(), conns: map[net.Conn]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { l.forward(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		ln.Close()
		all.Wait()
	})
	return l
}

// forward connects both sides until one of them or ctx ends.
func (l *loss) forward(ctx context.Context, c net.Conn) {
	defer c.Close()
	var address []byte
	for b := make([]byte, 1); len(address) < 256; address = append(address, b[0]) {
		if _, err := c.Read(b); err != nil {
			return
		}
		if b[0] == '\n' {
			break
		}
	}
	broker, err := (&net.Dialer{}).DialContext(ctx, "tcp", string(address))
	if err != nil {
		return
	}
	defer broker.Close()
	if !l.open(c, broker) {
		return
	}
	defer l.closed(c, broker)
	defer context.AfterFunc(ctx, func() { c.Close(); broker.Close() })()
	child := &lossyConn{Conn: c, loss: l}
	var answers sync.WaitGroup
	answers.Go(func() {
		io.Copy(child, broker)
		c.Close()
	})
	io.Copy(broker, child)
	broker.Close()
	answers.Wait()
}

// through returns what dials through the network at an address; "" is none.
func through(network string) func(context.Context, string, string) (net.Conn, error) {
	if network == "" {
		return nil
	}
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", network)
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(c, address+"\n"); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
}

// lossyConn watches the requests go by, frame by frame; Read is called by one goroutine, Write by another.
type lossyConn struct {
	net.Conn
	loss *loss
	head []byte // of the current frame: length and API key
	left int    // bytes of the current frame that are still to come

	mu   sync.Mutex
	lose chan struct{} // set: the next answer is lost
}

func (c *lossyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for b := p[:n]; len(b) > 0; {
		if c.left > 0 {
			skip := min(c.left, len(b))
			c.left -= skip
			b = b[skip:]
			continue
		}
		c.head = append(c.head, b[0])
		b = b[1:]
		if len(c.head) < 6 {
			continue
		}
		c.left = int(binary.BigEndian.Uint32(c.head)) - 2
		if binary.BigEndian.Uint16(c.head[4:]) == endTxn {
			c.seen()
		}
		c.head = c.head[:0]
	}
	return n, err
}

func (c *lossyConn) seen() {
	c.loss.mu.Lock()
	defer c.loss.mu.Unlock()
	if c.loss.lost == nil {
		return
	}
	if c.loss.after--; c.loss.after == 0 {
		c.mu.Lock()
		c.lose = c.loss.lost
		c.mu.Unlock()
		c.loss.lost = nil
	}
}

func (c *lossyConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	lose := c.lose
	c.lose = nil
	c.mu.Unlock()
	if lose != nil { // the broker answers after it has applied the request
		close(lose)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

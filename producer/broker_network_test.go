package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// network is what lies between producers and their brokers. It carries the protocol's frames one by one, and each way it can be slow,
// or cut. What is cut is not lost: it arrives when the cut is over, also where its sender has gone meanwhile, as TCP does it. Who
// dials through it says first, on a line of its own, whom it wants to reach (through).
type network struct {
	address string
	ctx     context.Context

	mu      sync.Mutex
	now     weather
	changed chan struct{} // closed when the weather changes
	armed   *ambush       // nil: none
	has     seen
}

// seen is what a network has done so far.
type seen struct {
	cuts    [2]int // frames that met a cut, by way
	slow    int    // frames that were late because it is slow
	arrived int    // requests that reached a broker while answers were cut
	late    int    // requests that reached a broker after a cut
}

// way is a direction.
type way int

const (
	requests way = iota
	answers
)

// weather is what the network does; the zero value does nothing.
type weather struct {
	cut   [2]bool       // by way
	delay time.Duration // each way
	rate  int           // bytes a second of a connection, each way; 0: any
}

// moment is where a request is when it is ambushed.
type moment string

const (
	leaves    moment = "request"   // the broker has yet to get it
	delivered moment = "delivered" // the broker has just got it
	answered  moment = "answer"    // its answer is there, and the producer has yet to get it
)

// ambush does something at a moment of the next request of its kind that passes one of its networks, and holds the request meanwhile.
type ambush struct {
	key   kmsg.Key
	at    moment
	do    func(*network)
	taken atomic.Bool
	done  chan struct{} // closed when do has returned
}

type frame struct {
	bytes []byte
	key   kmsg.Key // an answer's is that of its request
	read  time.Time
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &network{address: ln.Addr().String(), ctx: ctx, changed: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { n.forward(c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		ln.Close()
		all.Wait()
	})
	return n
}

func (n *network) set(now weather) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = now
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *network) arm(a *ambush) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.armed = a
}

func (n *network) passes(key kmsg.Key, at moment) {
	n.mu.Lock()
	a := n.armed
	n.mu.Unlock()
	if a != nil && a.key == key && a.at == at && a.taken.CompareAndSwap(false, true) {
		a.do(n)
		close(a.done)
	}
}

// forward connects both sides until they or the test end.
func (n *network) forward(child net.Conn) {
	defer child.Close()
	address, err := whom(child)
	if err != nil {
		return
	}
	broker, err := (&net.Dialer{}).DialContext(n.ctx, "tcp", address)
	if err != nil {
		return
	}
	defer broker.Close()
	defer context.AfterFunc(n.ctx, func() { child.Close(); broker.Close() })()
	l := &link{keys: map[uint32]kmsg.Key{}}
	var both sync.WaitGroup
	both.Go(func() { n.carry(l, child, broker, requests) })
	both.Go(func() { n.carry(l, broker, child, answers) })
	both.Wait()
}

// whom reads the line that says who is to be reached.
func whom(c net.Conn) (string, error) {
	var address []byte
	for b := make([]byte, 1); len(address) < 256; address = append(address, b[0]) {
		if _, err := c.Read(b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(address), nil
		}
	}
	return "", errors.New("the address has no end")
}

// link is a connection through the network.
type link struct {
	mu   sync.Mutex
	keys map[uint32]kmsg.Key // of the requests without an answer, by correlation id
}

// carry brings what one side sends to the other, until it has sent all.
func (n *network) carry(l *link, from, to net.Conn, w way) {
	frames := make(chan frame, 1024)
	go func() {
		defer close(frames)
		for {
			f, err := l.next(from, w)
			if err != nil {
				return
			}
			frames <- f
		}
	}()
	refused := false // by who is to get it: the rest has nowhere to go
	var free time.Time
	for f := range frames {
		if refused {
			continue
		}
		n.passes(f.key, map[way]moment{requests: leaves, answers: answered}[w])
		held := n.hold(w)
		free = n.travel(f, free)
		if _, err := to.Write(f.bytes); err != nil {
			refused = true
			continue
		}
		if w == requests {
			n.count(held)
			n.passes(f.key, delivered)
		}
	}
	to.(*net.TCPConn).CloseWrite()
}

// next reads a frame.
func (l *link) next(from io.Reader, w way) (frame, error) {
	f := frame{bytes: make([]byte, 4)}
	if _, err := io.ReadFull(from, f.bytes); err != nil {
		return f, err
	}
	size := binary.BigEndian.Uint32(f.bytes)
	if size < 8 && w == requests || size < 4 || size > 256<<20 {
		return f, fmt.Errorf("a frame of %d bytes", size)
	}
	f.bytes = append(f.bytes, make([]byte, size)...)
	if _, err := io.ReadFull(from, f.bytes[4:]); err != nil {
		return f, err
	}
	f.read = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if w == requests {
		f.key = kmsg.Key(binary.BigEndian.Uint16(f.bytes[4:]))
		l.keys[binary.BigEndian.Uint32(f.bytes[8:])] = f.key
		return f, nil
	}
	id := binary.BigEndian.Uint32(f.bytes[4:])
	f.key = l.keys[id]
	delete(l.keys, id)
	return f, nil
}

// hold waits for the end of a cut, and reports whether there was one.
func (n *network) hold(w way) (held bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.now.cut[w] && n.ctx.Err() == nil {
		if !held {
			n.has.cuts[w]++
		}
		held = true
		changed := n.changed
		n.mu.Unlock()
		select {
		case <-changed:
		case <-n.ctx.Done():
		}
		n.mu.Lock()
	}
	return held
}

// travel waits for as long as a frame is under way, and returns when it arrives. The one before it did so at free.
func (n *network) travel(f frame, free time.Time) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := f.read.Add(n.now.delay)
	if at.Before(free) {
		at = free
	}
	if n.now.rate > 0 {
		at = at.Add(time.Duration(len(f.bytes)) * time.Second / time.Duration(n.now.rate))
	}
	d := time.Until(at)
	if d <= 0 {
		return at
	}
	n.has.slow++
	n.mu.Unlock()
	select {
	case <-time.After(d):
	case <-n.ctx.Done():
	}
	n.mu.Lock()
	return at
}

// count notes a request that a broker has got.
func (n *network) count(held bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.now.cut[answers] && !n.now.cut[requests] {
		n.has.arrived++
	}
	if held {
		n.has.late++
	}
}

func (n *network) seen() seen {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.has
}

package main

import (
	"encoding/binary"
	"net"
	"sync"
)

// endTxn is the API key of the request that commits.
const endTxn = 26

// loss is the network before the broker: it can lose the answer to a commit that the broker has received and applied.
type loss struct {
	mu    sync.Mutex
	after int           // of the requests that commit, so many are still answered
	lost  chan struct{} // closed when an answer was lost; nil: none is to be
}

// next arms it: the answer to the n-th EndTxn from now on is lost, and the channel closed then.
func (l *loss) next(n int) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.after, l.lost = n, make(chan struct{})
	return l.lost
}

func (l *loss) listen(network, addr string) (net.Listener, error) {
	ln, err := net.Listen(network, addr)
	return &lossyListener{ln, l}, err
}

type lossyListener struct {
	net.Listener
	loss *loss
}

func (l *lossyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lossyConn{Conn: c, loss: l.loss}, nil
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

package kafka_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wire is a faulty line between a client and its brokers: what the broker does and what the client hears of it are two things. It
// spoils the first exchange that it is asked for after it was armed.
type wire struct {
	key     kmsg.Key
	forward bool                              // the broker gets the request
	answer  func(kmsg.Request, kmsg.Response) // writes what the client hears over the broker's answer, or over an empty one
	cut     bool                              // instead, the connection ends
	wants   func(kmsg.Request) bool           // nil: any
	armed   atomic.Bool
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	broker, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	client, line := net.Pipe()
	l := &wired{wire: w, line: line, broker: broker, spoilt: map[int32]kmsg.Request{}}
	go l.requests()
	go l.responses()
	return client, nil
}

// wired is one connection over a wire.
type wired struct {
	*wire
	line, broker net.Conn
	mu           sync.Mutex             // guards writes to line, and spoilt
	spoilt       map[int32]kmsg.Request // forwarded, by correlation id
}

func (l *wired) close() {
	l.line.Close()
	l.broker.Close()
}

// requests passes on what the client sends: four bytes of length, key, version, correlation id.
func (l *wired) requests() {
	defer l.close()
	for {
		frame, err := readFrame(l.line)
		if err != nil || len(frame) < 12 {
			return
		}
		key, id := kmsg.Key(binary.BigEndian.Uint16(frame[4:])), int32(binary.BigEndian.Uint32(frame[8:]))
		if key == l.key && l.armed.Load() {
			req := parseRequest(frame[4:])
			if (l.wants == nil || l.wants(req)) && l.armed.CompareAndSwap(true, false) {
				if !l.forward {
					if l.spoil(id, req, req.ResponseKind()) != nil {
						return
					}
					continue
				}
				l.mu.Lock()
				l.spoilt[id] = req
				l.mu.Unlock()
			}
		}
		if _, err := l.broker.Write(frame); err != nil {
			return
		}
	}
}

// responses passes on what the broker answers.
func (l *wired) responses() {
	defer l.close()
	for {
		frame, err := readFrame(l.broker)
		if err != nil || len(frame) < 8 {
			return
		}
		id := int32(binary.BigEndian.Uint32(frame[4:]))
		l.mu.Lock()
		req := l.spoilt[id]
		delete(l.spoilt, id)
		l.mu.Unlock()
		if req != nil {
			resp := req.ResponseKind()
			body := frame[8:]
			if resp.IsFlexible() {
				body = body[1:] // no tags
			}
			if resp.ReadFrom(body) != nil || l.spoil(id, req, resp) != nil {
				return
			}
			continue
		}
		if l.write(frame) != nil {
			return
		}
	}
}

// spoil lets the client hear something else, or nothing.
func (l *wired) spoil(id int32, req kmsg.Request, resp kmsg.Response) error {
	if l.cut {
		return io.ErrClosedPipe
	}
	if l.answer == nil {
		return nil
	}
	l.answer(req, resp)
	frame := binary.BigEndian.AppendUint32(make([]byte, 4), uint32(id))
	if resp.IsFlexible() {
		frame = append(frame, 0)
	}
	frame = resp.AppendTo(frame)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return l.write(frame)
}

func (l *wired) write(frame []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.line.Write(frame)
	return err
}

func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, 4)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame))...)
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// parseRequest reads a request: key, version, correlation id, client id, tags where they are allowed, and what is asked.
func parseRequest(b []byte) kmsg.Request {
	req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(b)))
	req.SetVersion(int16(binary.BigEndian.Uint16(b[2:])))
	n := 10 + max(0, int(int16(binary.BigEndian.Uint16(b[8:]))))
	if req.IsFlexible() {
		n++ // no tags
	}
	if err := req.ReadFrom(b[n:]); err != nil {
		panic(err) // a client of ours wrote it
	}
	return req
}

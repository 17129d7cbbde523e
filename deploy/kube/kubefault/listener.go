package kubefault

import (
	"errors"
	"net"
	"sync"
)

// listener knows its connections, so that a fault can close them.
type listener struct {
	net.Listener
	faults *Faults

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Listener puts the faults before the connections of a listener. Serve requests from it, behind Handler.
func (f *Faults) Listener(l net.Listener) net.Listener {
	out := &listener{Listener: l, faults: f, conns: map[net.Conn]struct{}{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listeners = append(f.listeners, out)
	return out
}

// Accept takes the next connection; while the cluster is unreachable it closes each at once.
func (l *listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err // net/http looks at it
		}
		if l.faults.isUnreachable() {
			_ = accepted.Close()
			continue
		}
		tracked := &conn{Conn: accepted, gone: l.forget}
		l.mu.Lock()
		l.conns[tracked] = struct{}{}
		l.mu.Unlock()
		return tracked, nil
	}
}

func (l *listener) forget(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

func (l *listener) closeAll() {
	l.mu.Lock()
	open := make([]net.Conn, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			continue // it was going anyway
		}
	}
}

type conn struct {
	net.Conn
	gone func(net.Conn)
}

// Close ends the connection and forgets it.
func (c *conn) Close() error {
	c.gone(c)
	return c.Conn.Close() // net/http looks at it
}

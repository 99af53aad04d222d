package status

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health is what the admin server says of the process. It is safe for concurrent use.
type Health struct {
	version string
	metrics http.Handler

	mu     sync.Mutex
	ready  bool
	reason string // why not ready
}

// NewHealth returns a Health that is not ready. version is shown on the page; metrics come from g.
func NewHealth(version string, g prometheus.Gatherer) *Health {
	return &Health{version: version, metrics: promhttp.HandlerFor(g, promhttp.HandlerOpts{}), reason: "starting"}
}

// SetReady says whether the process has started up, and if not, what it waits for. The reason is shown to whoever asks. It is about
// the start alone: later outages show in the log and the metrics, the process outlasts them, and a standby has no work to be
// judged by.
func (h *Health) SetReady(ready bool, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready, h.reason = ready, reason
}

func (h *Health) state() (ready bool, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ready:
		return true, "ready"
	case h.reason == "":
		return false, "not ready"
	}
	return false, "not ready: " + h.reason
}

// Handler returns the admin paths: /, /healthz, /readyz and /metrics.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.page)
	mux.Handle("GET /metrics", h.metrics)
	// The program ends when one of its loops does, so that whoever can answer is alive.
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		code := http.StatusServiceUnavailable
		ready, text := h.state()
		if ready {
			code = http.StatusOK
		}
		plain(w, code, text)
	})
	return mux
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	io.WriteString(w, text+"\n")
}

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>PSTN call producer</title>
<h1>PSTN call producer</h1>
<p>{{.Version}}</p>
<p><strong>{{.State}}</strong></p>
<ul><li><a href="/healthz">/healthz</a></li><li><a href="/readyz">/readyz</a></li><li><a href="/metrics">/metrics</a></li></ul>
<p>Windows and shards: <code>producer status</code></p>
</html>
`))

func (h *Health) page(w http.ResponseWriter, _ *http.Request) {
	_, text := h.state()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	pageTemplate.Execute(w, struct{ Version, State string }{h.version, text})
}

const (
	headerTimeout   = 5 * time.Second
	shutdownTimeout = 3 * time.Second
)

// Serve serves h on addr until ctx ends. An address that cannot be bound is an error at once; the one returned has the real
// port. wait returns when the server has ended, and its error, nil after ctx ended; it must be called.
func Serve(ctx context.Context, addr string, h http.Handler) (bound string, wait func() error, err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		hint := "want an address such as 127.0.0.1:8080"
		if errors.Is(err, syscall.EADDRINUSE) {
			hint = "another process is there already"
		}
		return "", nil, fmt.Errorf("listen on %s: %w; %s", addr, err, hint)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	return ln.Addr().String(), func() error {
		select {
		case err := <-done:
			return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
		case <-ctx.Done():
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if srv.Shutdown(stop) != nil {
			srv.Close() // an answer that takes longer is cut off
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
		}
		return nil
	}, nil
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"pstncalls/internal/config"
)

func healthCommand() command {
	return command{
		name:     "health",
		synopsis: "asks a running producer whether it is ready",
		help: `Asks the admin server at ADMIN_ADDR, prints its answer, and exits with 0 if it is ready, 1 if not. Ready is a producer that
has reached Kafka and found topics and schema in order; outages after that show in its log and in /metrics. Needs no other variable.

Example:
  HEALTHCHECK CMD ["/producer", "health", "--live"]`,
		run: runHealth,
	}
}

const healthTimeout = 2 * time.Second

func runHealth(ctx context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("health", flag.ContinueOnError)
	live := fs.Bool("live", false, "ask only whether the process is alive (/healthz), not whether it is ready (/readyz)")
	if err := parseFlags(e, healthCommand(), fs, args); err != nil {
		return err
	}
	addr, err := adminAddr(lookup(e.environ, "ADMIN_ADDR"))
	if err != nil {
		return err
	}
	path := "/readyz"
	if *live {
		path = "/healthz"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return fmt.Errorf("ADMIN_ADDR: %w", err)
	}
	cl := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: the server is here
	resp, err := cl.Do(req)
	if err != nil {
		return fmt.Errorf("%w; is a producer running, with this ADMIN_ADDR?", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	fmt.Fprintln(e.stdout, strings.TrimSpace(string(body)))
	if resp.StatusCode != http.StatusOK {
		return errSaid
	}
	return nil
}

// adminAddr returns where a server that listens on addr is reached from this machine.
func adminAddr(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && (port == "" || port == "0") {
		err = errors.New("the port is not known")
	}
	if err != nil {
		var wrong config.Errors
		wrong.Add("ADMIN_ADDR", "not host:port of a running producer", "want one such as 127.0.0.1:8080")
		return "", wrong.Err()
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip == netip.IPv4Unspecified() {
		host = "127.0.0.1"
	} else if err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// lookup returns a variable, or its default, without asking anything of the others. Set but empty is unset.
func lookup(environ []string, name string) string {
	for _, entry := range environ {
		if n, v, _ := strings.Cut(entry, "="); n == name && v != "" {
			return v
		}
	}
	for _, v := range config.Manual() {
		if v.Name == name {
			return v.Default
		}
	}
	return ""
}

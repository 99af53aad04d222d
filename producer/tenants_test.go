package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"pstncalls/internal/clock"
	"pstncalls/internal/config"
	"pstncalls/internal/status"
)

// said passes on the lines of a log that tell which tenants there are.
type said chan string

func (s said) Write(p []byte) (int, error) {
	if line := string(p); strings.Contains(line, `msg="tenants `) || strings.Contains(line, `msg="joining `) {
		s <- line
	}
	return len(p), nil
}

// A mistake in the tenants file, or a certificate that is away while a tenant is added, changes nothing for those that are polled:
// above all it does not end the process.
func TestTenantsFileWithMistakes(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	dir := t.TempDir()
	cert, away, tenants := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "away.pem"), filepath.Join(dir, "tenants")
	put := func(path string, content []byte) { // as editors do: nobody reads half of it
		t.Helper()
		if err := os.WriteFile(path+"~", content, 0o600); err != nil {
			t.Fatal(err)
		}
		move(t, path+"~", path)
	}
	put(cert, newCertificate(t))
	put(tenants, []byte("contoso\n"))
	// Nobody listens at port 1: whether rows are read does not matter here.
	cfg, err := config.Load([]string{"AZURE_TENANT_ID=contoso", "AZURE_CLIENT_ID=app", "AZURE_CLIENT_CERTIFICATE_PATH=" + cert,
		"AZURE_AUTHORITY_HOST=https://127.0.0.1:1", "GRAPH_ENDPOINT=http://127.0.0.1:1", "GRAPH_TENANTS_FILE=" + tenants,
		"KAFKA_BROKERS=" + broker.ListenAddrs()[0]})
	if err != nil {
		t.Fatal(err)
	}

	lines := make(said, 100)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, cfg, slog.New(slog.NewTextHandler(lines, nil)), setup{clock: clock.NewScaled(time.Now(), 50), noAdmin: true})
	}()
	await := func(words ...string) {
		t.Helper()
		select {
		case line := <-lines:
			for _, w := range words {
				if !strings.Contains(line, w) {
					t.Fatalf("got %s, want %q", line, words)
				}
			}
		case err := <-ended:
			t.Fatalf("it ended: %v", err)
		case <-time.After(2 * time.Minute):
			t.Fatalf("in vain: %q", words)
		}
	}
	await("joining the group", "tenants=1")
	put(tenants, []byte("contoso\ncontoso_eu\n"))
	await("tenants stay as they are", "line 2 is not the id of a tenant")
	move(t, cert, away)
	put(tenants, []byte("contoso\nfabrikam\n"))
	await("tenants stay as they are", "fabrikam", "cert.pem")
	move(t, away, cert)
	await("tenants changed", "tenants=2")
	stop()
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// A managed identity's token is for one tenant, however many the file comes to name.
func TestManagedIdentityPollsOneTenant(t *testing.T) {
	cfg, err := config.Load([]string{"AZURE_TENANT_ID=contoso", "KAFKA_BROKERS=b:9092"})
	if err != nil {
		t.Fatal(err)
	}
	src, err := newSources(cfg, clock.System, status.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := src.check([]string{"contoso"}); err != nil {
		t.Error(err)
	}
	if err := src.check([]string{"contoso", "fabrikam"}); err == nil || !strings.Contains(err.Error(), "one tenant only") {
		t.Errorf("two tenants: %v", err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// newCertificate returns a self-signed certificate and its key.
func newCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
}

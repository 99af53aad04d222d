package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"pstncalls/internal/clock"
	"pstncalls/internal/config"
	"pstncalls/internal/graph"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/status"
)

// newLog returns the program's log.
func newLog(cfg config.Log, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.Level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// kafkaConfig returns the part of cfg that package kafka needs. instance is this process's id in claims.
func kafkaConfig(cfg *config.Config, log *slog.Logger) (kafka.Config, error) {
	tls, err := cfg.Kafka.TLS.Config()
	if err != nil {
		return kafka.Config{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return kafka.Config{
		Brokers: cfg.Kafka.Brokers,
		TLS:     tls,
		SASL:    kafka.SASL{Mechanism: cfg.Kafka.SASL.Mechanism, Username: cfg.Kafka.SASL.Username, Password: cfg.Kafka.SASL.Password.Reveal()},
		Topics: kafka.Topics{Events: cfg.Kafka.EventsTopic, State: cfg.Kafka.StateTopic, DLQ: cfg.Kafka.DLQTopic,
			Watermark: cfg.Kafka.WatermarkTopic},
		Compression:    cfg.Kafka.Compression,
		Group:          cfg.Kafka.Group,
		GroupProtocol:  cfg.Kafka.GroupProtocol,
		InstanceID:     cfg.Kafka.GroupInstanceID,
		SessionTimeout: cfg.Kafka.SessionTimeout,
		Host:           host,
		Instance:       newInstance(host),
		Log:            log,
	}, nil
}

// newInstance returns an id that no other process has.
func newInstance(host string) string {
	b := make([]byte, 6)
	rand.Read(b)
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), hex.EncodeToString(b))
}

// newCluster returns the cluster that cfg names.
func newCluster(cfg *config.Config, log *slog.Logger) (*kafka.Cluster, error) {
	kc, err := kafkaConfig(cfg, log)
	if err != nil {
		return nil, err
	}
	return kafka.New(kc)
}

// sources makes the Graph client of each tenant, once: its budget outlives the sessions of its shard.
type sources struct {
	cfg       *config.Config
	cloud     graph.Cloud
	clock     clock.Clock
	transport http.RoundTripper
	metrics   *status.Metrics
	log       *slog.Logger

	mu   sync.Mutex
	made map[string]poller.Source
}

func newSources(cfg *config.Config, c clock.Clock, m *status.Metrics, log *slog.Logger) (*sources, error) {
	cloud, err := graph.CloudByName(cfg.Graph.Cloud)
	if err != nil {
		return nil, err
	}
	if cfg.Graph.Endpoint != nil {
		cloud.Graph = cfg.Graph.Endpoint
	}
	if cfg.Azure.AuthorityHost != nil {
		cloud.Authority = cfg.Azure.AuthorityHost
	}
	return &sources{cfg: cfg, cloud: cloud, clock: c, transport: graph.NewTransport(), metrics: m, log: log, made: map[string]poller.Source{}}, nil
}

// endpoint returns Graph's root with the version: what ce_source begins with.
func (s *sources) endpoint() string {
	return (&url.URL{Scheme: s.cloud.Graph.Scheme, Host: s.cloud.Graph.Host, Path: s.cloud.Graph.Path}).JoinPath(s.cfg.Graph.APIVersion).String()
}

// source returns the source of a tenant.
func (s *sources) source(tenant string) (poller.Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if src, ok := s.made[tenant]; ok {
		return src, nil
	}
	tokens, err := graph.NewTokens(graph.TokenConfig{
		Auth:               s.cfg.Graph.Auth,
		Tenant:             tenant,
		ClientID:           s.cfg.Azure.ClientID,
		ClientSecret:       s.cfg.Azure.ClientSecret.Reveal(),
		CertificatePath:    s.cfg.Azure.ClientCertificatePath,
		FederatedTokenFile: s.cfg.Azure.FederatedTokenFile,
		Authority:          s.cloud.Authority,
		Scope:              s.cloud.Scope,
		Transport:          s.transport,
		Clock:              s.clock,
	})
	if err != nil {
		return poller.Source{}, err
	}
	budget := graph.NewBudget(s.clock, s.cfg.Graph.RequestsPerMinute)
	client, err := graph.New(graph.Config{
		Tenant:     tenant,
		Endpoint:   s.cloud.Graph,
		APIVersion: s.cfg.Graph.APIVersion,
		Tokens:     tokens,
		Budget:     budget,
		Clock:      s.clock,
		Transport:  s.transport,
		UserAgent:  "pstncalls/" + version().Version,
		Log:        s.log,
		Observe:    func(o graph.Outcome) { s.metrics.Request(tenant, o.Status) },
	})
	if err != nil {
		return poller.Source{}, err
	}
	s.made[tenant] = poller.Source{Pager: client, Budget: budget}
	return s.made[tenant], nil
}

// check refuses tenants that this configuration cannot poll, by making their sources: after it, source does not fail for them.
func (s *sources) check(tenants []string) error {
	az := s.cfg.Azure
	managed := s.cfg.Graph.Auth == "azure" && az.ClientSecret.Reveal() == "" && az.ClientCertificatePath == "" && az.FederatedTokenFile == ""
	if managed && len(tenants) > 1 {
		return errors.New("a managed identity's token is for its own tenant: it can poll one tenant only")
	}
	for _, t := range tenants {
		if _, err := s.source(t); err != nil {
			return fmt.Errorf("tenant %s: %w", t, err)
		}
	}
	return nil
}

// tenantList is the tenants to poll: fixed, or a file that is read again when it changes.
type tenantList struct {
	mu      sync.Mutex
	names   []string
	changed chan struct{}
}

func newTenantList(names []string) *tenantList {
	return &tenantList{names: names, changed: make(chan struct{})}
}

func (l *tenantList) get() ([]string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names, l.changed
}

func (l *tenantList) set(names []string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Equal(names, l.names) {
		return false
	}
	l.names = names
	close(l.changed)
	l.changed = make(chan struct{})
	return true
}

const tenantsFileEvery = 10 * time.Second

// watch reads the tenants file again every few seconds until ctx ends. A file that cannot be read, or holds mistakes, or a tenant
// that check refuses, changes nothing: the tenants stay as they are, and the log says so once.
func (l *tenantList) watch(ctx context.Context, c clock.Clock, path string, check func([]string) error, log *slog.Logger) {
	said := ""
	for clock.Sleep(ctx, c, tenantsFileEvery) == nil {
		names, err := config.ReadTenants(path)
		if err == nil {
			err = check(names)
		}
		if err != nil {
			if said != err.Error() {
				said = err.Error()
				log.Warn("tenants stay as they are", "file", path, "error", err)
			}
			continue
		}
		said = ""
		if l.set(names) {
			log.Info("tenants changed", "tenants", len(names))
		}
	}
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"pstncalls/internal/clock"
	"pstncalls/internal/config"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/row"
	"pstncalls/internal/schedule"
	"pstncalls/internal/status"
)

func runCommand() command {
	return command{
		name:     "run",
		synopsis: "polls Graph and publishes to Kafka, until it is told to stop",
		help: `All configuration is environment variables. Any number of replicas may run: they share the tenants.

Example:
  AZURE_TENANT_ID=… AZURE_CLIENT_ID=… AZURE_CLIENT_SECRET_FILE=/run/secrets/graph KAFKA_BROKERS=kafka:9092 producer run

Exit codes: 0 stopped by a signal, 1 failed or refused (topics, state, registry; the message says how to mend it), 2 mistakes in the
environment, 3 the state belongs to another KAFKA_GROUP.`,
		run: run,
	}
}

func run(ctx context.Context, e env, args []string) error {
	if err := parseFlags(e, runCommand(), flag.NewFlagSet("run", flag.ContinueOnError), args, printManual); err != nil {
		return err
	}
	cfg, err := config.Load(e.environ)
	if err != nil {
		return err
	}
	log := newLog(cfg.Log, e.stderr)
	for _, w := range cfg.Warnings() {
		log.Warn(w)
	}
	return serve(ctx, cfg, log, setup{})
}

func printManual(w io.Writer) {
	fmt.Fprint(w, "\nVariables (every secret X may be given as X_FILE, the path of a file that holds it):\n")
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, v := range config.Manual() {
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", v.Name, v.Default, v.Meaning)
	}
	tw.Flush()
}

// setup is what demo and tests do differently; its zero value is the real thing.
type setup struct {
	clock    clock.Clock    // nil: the machine's
	observer kafka.Observer // nil: metrics only
	dialer   func(ctx context.Context, network, address string) (net.Conn, error)
	registry *prometheus.Registry // nil: a new one
	noAdmin  bool                 // no admin server
}

// serve is the service: admin server, topics, membership, shards. It ends with ctx, or with what it is refused for.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger, s setup) error {
	if s.clock == nil {
		s.clock = clock.System
	}
	registry := s.registry
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	metrics := status.NewMetrics(registry)
	observer := &phases{next: s.observer, metrics: metrics, since: map[int32]time.Time{}}

	kc, err := kafkaConfig(cfg, log)
	if err != nil {
		return err
	}
	kc.Observer, kc.Dialer = observer, s.dialer
	cluster, err := kafka.New(kc)
	if err != nil {
		return err
	}
	src, err := newSources(cfg, s.clock, metrics, log)
	if err != nil {
		return err
	}
	if err := src.check(cfg.Graph.Tenants); err != nil { // a credential that cannot work is found now
		return err
	}
	privacy, err := privacyOf(cfg)
	if err != nil {
		return err
	}

	health := status.NewHealth(version().String(), registry)
	group, ctx := errgroup.WithContext(ctx)
	if !s.noAdmin {
		addr, wait, err := status.Serve(ctx, cfg.Admin.Addr, health.Handler())
		if err != nil {
			return err
		}
		log.Info("admin server", "addr", addr)
		group.Go(wait)
	}
	tenants := newTenantList(cfg.Graph.Tenants)
	if path := cfg.Graph.TenantsFile; path != "" {
		group.Go(func() error {
			tenants.watch(ctx, s.clock, path, src.check, log)
			return nil
		})
	}
	group.Go(func() error {
		health.SetReady(false, "waiting for Kafka")
		layout, err := prepare(ctx, cluster, cfg.Poll.FreshStart, health, log)
		if err != nil {
			return err
		}
		health.SetReady(false, "registering the schema")
		frame, err := newFramer(ctx, cfg, log)
		if err != nil {
			return err
		}
		p := poller.New(poller.Config{
			Cluster:         cluster,
			Layout:          layout,
			Clock:           s.clock,
			Schedule:        schedule.Settings{Interval: cfg.Poll.Interval, Lookback: cfg.Poll.Lookback},
			Start:           cfg.Poll.Start.Day,
			Concurrency:     cfg.Graph.Concurrency,
			Tenants:         tenants.get,
			Source:          src.source,
			Privacy:         privacy,
			APIVersion:      cfg.Graph.APIVersion,
			Endpoint:        src.endpoint(),
			Framer:          frame,
			PoliteSuccessor: cfg.Graph.RequestsPerMinute <= 50,
			Metrics:         metrics,
			Log:             log,
			Observer:        observer,
		})
		health.SetReady(true, "")
		watch := &status.Watch{Cluster: cluster, Schedule: schedule.Settings{Interval: cfg.Poll.Interval, Lookback: cfg.Poll.Lookback},
			Limits: status.StateLimits, Board: metrics.Conditions, Log: log}
		group.Go(func() error {
			watch.Run(ctx)
			return nil
		})
		log.Info("joining the group", "group", cfg.Kafka.Group, "tenants", len(cfg.Graph.Tenants))
		return cluster.RunMembers(ctx, p.Work)
	})
	err = group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// prepare waits for the brokers, saying so once a minute, and makes the topics ready. Only a refusal is an error.
func prepare(ctx context.Context, cluster *kafka.Cluster, fresh bool, health *status.Health, log *slog.Logger) (kafka.Layout, error) {
	const attempt, pause, sayEvery = 15 * time.Second, time.Second, time.Minute
	var said time.Time
	for {
		try, cancel := context.WithTimeout(ctx, 4*attempt)
		layout, err := cluster.Prepare(try, fresh)
		cancel()
		if err == nil || ctx.Err() != nil || kafka.IsRefused(err) {
			return layout, err
		}
		health.SetReady(false, "waiting for Kafka: "+kafka.Explain(err))
		if time.Since(said) >= sayEvery {
			said = time.Now()
			log.Warn("waiting for Kafka", "error", kafka.Explain(err))
		}
		if err := clock.Sleep(ctx, clock.System, pause); err != nil {
			return layout, err
		}
	}
}

// newFramer returns the framing of the events: Confluent's with a registry, Avro's single-object encoding without.
func newFramer(ctx context.Context, cfg *config.Config, log *slog.Logger) (poller.Framer, error) {
	if cfg.Registry.URL == nil {
		return singleObjectFramer{}, nil
	}
	cl, err := newRegistry(cfg.Registry)
	if err != nil {
		return nil, err
	}
	id, err := register(ctx, cl, cfg.Kafka.EventsTopic, log)
	if err != nil {
		return nil, err
	}
	log.Info("schema registered", "subject", cfg.Kafka.EventsTopic+"-value", "id", id)
	return newConfluentFramer(id, cfg.Registry.URL), nil
}

func privacyOf(cfg *config.Config) (*row.Privacy, error) {
	return row.ParsePrivacy(cfg.Privacy.Fields, []byte(cfg.Privacy.HashKey.Reveal()))
}

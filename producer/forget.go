package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"pstncalls/internal/clock"
	"pstncalls/internal/config"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
)

func forgetCommand() command {
	return command{
		name:     "forget",
		synopsis: "deletes what the state has of a tenant that is polled no more",
		help: `Take the tenant out of GRAPH_TENANTS (or the file) of every producer first: while one polls it, it is refused. Then this deletes the
tenant's window offsets, ledgers and watermark, in one transaction. Should the tenant be polled again some day, it begins anew at POLL_START.

Its events and dead letters stay until retention removes them (retention.ms): they are not deleted one by one, for events of a topic that
is not compacted cannot be, and a tombstone would be one more record that every reader has to understand. verify counts them apart. To
have less of persons in the events, PRIVACY_FIELDS masks, hashes or drops properties before anything is published.

A running producer does the work; where none runs, this command does it itself. It asks before; --yes answers.

Example:
  KAFKA_BROKERS=kafka:9092 producer forget --tenant contoso --yes`,
		run: runForget,
	}
}

func runForget(ctx context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("forget", flag.ContinueOnError)
	tenant := fs.String("tenant", "", "the `tenant`")
	yes := fs.Bool("yes", false, "do not ask")
	asJSON := fs.Bool("json", false, "as a JSON array of one signal")
	if err := parseFlags(e, forgetCommand(), fs, args); err != nil {
		return err
	}
	if *tenant == "" {
		return &usageError{command: "forget", message: "--tenant: want the tenant to forget"}
	}
	cfg, err := config.LoadKafka(e.environ)
	if err != nil {
		return err
	}
	log := newLog(cfg.Log, e.stderr)
	cluster, err := newCluster(cfg, log)
	if err != nil {
		return err
	}
	view, err := readState(ctx, cluster)
	if err != nil {
		return err
	}
	if _, err := knownTenants("forget", view, *tenant); err != nil {
		return err
	}
	if view.Group != cfg.Kafka.Group {
		return &kafka.ForeignGroupError{Topic: cfg.Kafka.StateTopic, Owner: view.Group, Ours: cfg.Kafka.Group}
	}
	if !*yes {
		if sure, err := confirm(e, *tenant); err != nil || !sure {
			return err
		}
	}
	w, err := give(ctx, cluster, view, state.Signal{Kind: state.SignalForget, Tenant: *tenant})
	if err != nil {
		return err
	}
	alone, err := awaitGroup(ctx, e, cluster, view, w)
	if err != nil {
		return err
	}
	if alone {
		fmt.Fprintln(e.stderr, "no producer runs: this command does it itself")
		p := poller.New(poller.Config{Cluster: cluster, Clock: clock.System, Metrics: status.NewMetrics(prometheus.NewRegistry()), Log: log})
		if err := p.Forget(ctx, w.shard, *tenant, w.ID); err != nil {
			return fmt.Errorf("%s", kafka.Explain(err))
		}
	}
	return await(ctx, e, cluster, []*wish{w}, *asJSON)
}

const nobodyAnswers = "nobody is there to ask: --yes says that it is meant"

// confirm asks whoever sits there.
func confirm(e env, tenant string) (bool, error) {
	if f, ok := e.stdin.(*os.File); ok {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			return false, &usageError{command: "forget", message: nobodyAnswers}
		}
	}
	fmt.Fprintf(e.stderr, "All that the state has of tenant %s will be deleted. Polled again, all its calls since POLL_START would be published a second time.\nForget it? Answer with the tenant's name: ", tenant)
	line, err := bufio.NewReader(e.stdin).ReadString('\n')
	switch {
	case err == io.EOF && line == "": // /dev/null is a device, too
		fmt.Fprintln(e.stderr)
		return false, &usageError{command: "forget", message: nobodyAnswers}
	case err != nil && err != io.EOF:
		return false, fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != tenant {
		fmt.Fprintln(e.stderr, "nothing was changed")
		return false, errSaid
	}
	return true, nil
}

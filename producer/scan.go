package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"pstncalls/internal/config"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/state"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
)

func scanCommand() command {
	return command{
		name:     "scan",
		synopsis: "asks the running producer to read days again, or further back",
		help: `The running producer reads the days once more, newest first, and publishes what is new or has changed. Days that have settled get
their ledgers back first: from the events topic, proved against what the state has kept of them, so that nothing is published
twice. Where retention has removed their events that cannot be done, and the scan is refused. Days further back than the first that is
polled are read and published as any other, in a range that reaches it; the watermark does not go back for them.

The wish is a record of the state topic: it outlives restarts and changes of the owner, and is done once. With --wait the command stays
until then, says how far it is, and exits with 1 if it was refused or canceled. --cancel stays for the answer where a producer runs.

Example:
  KAFKA_BROKERS=kafka:9092 producer scan --tenant contoso --from 2026-11-01 --to 2026-11-08 --wait
  KAFKA_BROKERS=kafka:9092 producer scan --list
  KAFKA_BROKERS=kafka:9092 producer scan --cancel 0b9e4f4e-52cb-4c77-9d3f-0f6f3d4f4b8e`,
		run: runScan,
	}
}

func runScan(ctx context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("scan", flag.ContinueOnError)
	from := fs.String("from", "", "the first `day`: 2026-11-01")
	to := fs.String("to", "", "the `day` behind the last one: 2026-11-08; by default today is the last")
	tenant := fs.String("tenant", "", "only this `tenant`")
	wait := fs.Bool("wait", false, "stay until it is done, and show how far it is")
	list := fs.Bool("list", false, "show the scans that are asked for and not done")
	cancel := fs.String("cancel", "", "end the scan with this `id`; what it has published stays")
	asJSON := fs.Bool("json", false, "as a JSON array of scans")
	if err := parseFlags(e, scanCommand(), fs, args); err != nil {
		return err
	}
	wrong := func(format string, a ...any) error {
		return &usageError{command: "scan", message: fmt.Sprintf(format, a...)}
	}
	now := time.Now()
	days, err := daysBetween("scan", *from, *to, now)
	switch {
	case err != nil:
		return err
	case (*list || *cancel != "") && days != nil, *list && *cancel != "":
		return wrong("--list, --cancel and a range are three different things: want one of them")
	case *list || *cancel != "":
	case *from == "":
		return wrong("--from: want the first day, such as 2026-11-01")
	case days.To > window.Of(now)+1:
		return wrong("--to: %s lies in the future: the last day can be today, %s", days.To-1, window.Of(now))
	}
	cfg, err := config.LoadKafka(e.environ)
	if err != nil {
		return err
	}
	cluster, err := newCluster(cfg, newLog(cfg.Log, e.stderr))
	if err != nil {
		return err
	}
	view, err := readState(ctx, cluster)
	if err != nil {
		return err
	}
	scans := []*wish{}
	switch {
	case *list || *cancel != "":
		all, err := pending(view)
		if err != nil {
			return err
		}
		for _, s := range all {
			if s.Kind == state.SignalScan && (*tenant == "" || s.Tenant == *tenant) && (*list || s.ID == *cancel) {
				scans = append(scans, s)
			}
		}
		if *cancel != "" {
			if len(scans) == 0 {
				return wrong("--cancel: no scan %q is asked for: `producer scan --list` shows those that are", *cancel)
			}
			if scans[0], err = give(ctx, cluster, view, state.Signal{Kind: state.SignalCancel, Tenant: scans[0].Tenant, Target: *cancel}); err != nil {
				return err
			}
			if !*wait {
				nobody, err := awaitGroup(ctx, e, cluster, view, scans[0])
				if err != nil {
					return err
				}
				if nobody && !*asJSON {
					fmt.Fprintf(e.stdout, "%s  tenant %s  its end is asked for: no producer runs, the next one does it\n", *cancel, scans[0].Tenant)
				}
				*wait = !nobody
			}
		}
	default:
		tenants, err := knownTenants("scan", view, *tenant)
		if err != nil {
			return err
		}
		if len(tenants) == 0 {
			return errors.New("no tenant has been polled yet: start `producer run` first")
		}
		if err := possible(ctx, cluster, view, tenants, *days, now); err != nil {
			return err
		}
		for _, t := range tenants {
			s, err := give(ctx, cluster, view, state.Signal{Kind: state.SignalScan, Tenant: t, Range: days})
			if err != nil {
				return err
			}
			scans = append(scans, s)
			if !*asJSON {
				fmt.Fprintf(e.stdout, "%s  tenant %s  %s  asked for\n", s.ID, t, days)
			}
		}
	}
	if *wait && !*list {
		return await(ctx, e, cluster, scans, *asJSON)
	}
	if *asJSON {
		return printJSON(e.stdout, scans)
	}
	if *list {
		return printSignals(e.stdout, scans)
	}
	return nil
}

// possible refuses what the owner would have to refuse: who does not wait would not hear of it.
func possible(ctx context.Context, cluster *kafka.Cluster, view *kafka.StateView, tenants []string, days window.Range, now time.Time) error {
	if oldest := window.Of(now) - poller.MaxBack; days.From < oldest {
		return fmt.Errorf("refused: Graph keeps no calls before %s", oldest)
	}
	removed, err := verify.Removed(ctx, cluster, view)
	if err != nil {
		return topicError(err, "events topic", cluster.Topics().Events, "KAFKA_EVENTS_TOPIC")
	}
	for _, id := range tenants {
		t, ok, err := state.Load(id, view.State)
		if err != nil {
			return fmt.Errorf("state topic %s: %w", cluster.Topics().State, err)
		}
		if !ok {
			continue
		}
		if days.To < t.Header.Start {
			return fmt.Errorf("refused: tenant %s: polling begins at %s, and a range further back has to reach it, or days in between would never be read: want --to %s", id, t.Header.Start, t.Header.Start)
		}
		for day, kept := range t.SettledDays() {
			if !removed.IsZero() && days.Contains(day) && (day.Start().Before(removed) || kept.First != nil && kept.First.Before(removed)) {
				return fmt.Errorf("refused: tenant %s: retention has removed events before %s from topic %s, so what has been published of %s can no longer be known, and would be published a second time",
					id, removed.UTC().Format(time.RFC3339), cluster.Topics().Events, day)
			}
		}
	}
	return nil
}

// await waits for the answers. One that is no done is an error.
func await(ctx context.Context, e env, cluster *kafka.Cluster, scans []*wish, asJSON bool) error {
	failed := false
	for _, s := range scans {
		err := followSignal(ctx, cluster, s, func(now *wish) {
			switch {
			case now == nil:
				fmt.Fprintf(e.stderr, "tenant %s: nobody has answered yet: does a producer run that polls it? The wish stays until one does\n", s.Tenant)
			case now.Answer == "" && now.Range != nil:
				fmt.Fprintf(e.stderr, "tenant %s: %d of %d days left, %d events, %d of them revisions\n", now.Tenant, now.DaysLeft, now.Range.Days(), now.Events, now.Revisions)
			}
		})
		switch {
		case err != nil && ctx.Err() != nil:
			fmt.Fprintln(e.stderr, "producer: interrupted; what was asked for stays"+afterwards(s.Kind))
			failed = true
		case err != nil:
			return fmt.Errorf("tenant %s: %s", s.Tenant, kafka.Explain(err))
		}
		failed = failed || s.Answer != state.AnswerDone
		if !asJSON && s.Answer != "" {
			fmt.Fprintln(e.stdout, lastWord(s))
		}
	}
	if asJSON {
		if err := printJSON(e.stdout, scans); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	if failed {
		return errSaid
	}
	return nil
}

// afterwards says what can be done about a signal that nobody waits for any more.
func afterwards(kind string) string {
	if kind == state.SignalScan {
		return ": `producer scan --list` shows it, --cancel ends it"
	}
	return ", and is done by the next producer that runs"
}

func lastWord(s *wish) string {
	out := fmt.Sprintf("tenant %s: %s", s.Tenant, s.Answer)
	if s.Kind == state.SignalScan {
		out += fmt.Sprintf(": %s, events=%d revisions=%d", s.Range, s.Events, s.Revisions)
	}
	if s.Why != "" {
		out += ": " + s.Why
	}
	return out
}

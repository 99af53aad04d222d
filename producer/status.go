package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"pstncalls/internal/config"
	"pstncalls/internal/kafka"
	"pstncalls/internal/schedule"
	"pstncalls/internal/status"
)

func statusCommand() command {
	return command{
		name:     "status",
		synopsis: "shows windows, conditions and owners, from the state topic alone",
		help: `Reads the state topic: it asks nothing of Graph and of no running producer. POLL_INTERVAL and POLL_LOOKBACK should be those of
run: they decide when the next scan is due.

Example:
  KAFKA_BROKERS=kafka:9092 producer status
  KAFKA_BROKERS=kafka:9092 producer status --json | jq '.tenants[] | {tenant, watermark, conditions}'`,
		run: runStatus,
	}
}

// answerTimeout is how long a command waits for the first answer of a broker.
const answerTimeout = 30 * time.Second

func runStatus(ctx context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("status", flag.ContinueOnError)
	asJSON := fs.Bool("json", false, "as one JSON object")
	all := fs.Bool("all", false, "every window by itself, not the older ones by month")
	if err := parseFlags(e, statusCommand(), fs, args); err != nil {
		return err
	}
	cfg, err := config.LoadKafka(e.environ)
	if err != nil {
		return err
	}
	settings, err := scheduleOf(e.environ)
	if err != nil {
		return err
	}
	cluster, err := newCluster(cfg, newLog(cfg.Log, e.stderr))
	if err != nil {
		return err
	}
	sv, err := readState(ctx, cluster)
	if err != nil {
		return err
	}
	v, err := status.NewView(sv, settings, time.Now().UTC())
	if err != nil {
		return err
	}
	if *asJSON {
		enc := json.NewEncoder(e.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	return printView(e.stdout, v, *all)
}

// readState reads the state, and says what to do when it cannot be had.
func readState(ctx context.Context, cluster *kafka.Cluster) (*kafka.StateView, error) {
	topic := cluster.Topics().State
	if err := reachable(ctx, cluster, topic); err != nil {
		return nil, topicError(err, "state topic", topic, "KAFKA_STATE_TOPIC")
	}
	sv, err := cluster.ReadState(ctx)
	if err != nil {
		return nil, topicError(err, "state topic", topic, "KAFKA_STATE_TOPIC")
	}
	return sv, nil
}

// reachable asks for a topic's offsets, within answerTimeout.
func reachable(ctx context.Context, cluster *kafka.Cluster, topic string) error {
	r, err := cluster.NewReader()
	if err != nil {
		return err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err = r.StableEnds(ctx, topic)
	return err
}

func topicError(err error, what, topic, variable string) error {
	if kafka.IsMissingTopic(err) {
		return fmt.Errorf("%s %s does not exist: start `producer run`, which creates it, or name the right one in %s", what, topic, variable)
	}
	return fmt.Errorf("%s %s: %s", what, topic, kafka.Explain(err))
}

// scheduleOf reads the two settings that the plan depends on, and nothing else of run's.
func scheduleOf(environ []string) (schedule.Settings, error) {
	var wrong config.Errors
	read := func(name string) time.Duration {
		d, err := time.ParseDuration(lookup(environ, name))
		if err != nil || d <= 0 {
			wrong.Add(name, "not a positive duration", "want one such as 5m or 168h")
		}
		return d
	}
	s := schedule.Settings{Interval: read("POLL_INTERVAL"), Lookback: read("POLL_LOOKBACK")}
	return s, wrong.Err()
}

const (
	shownWindows = 14 // of each tenant; older ones are folded by month
	shownTime    = "2006-01-02 15:04:05"
)

func printView(out io.Writer, v *status.View, all bool) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	if len(v.Tenants) == 0 {
		fmt.Fprint(w, "No tenant has been polled yet.\n\n")
	}
	for _, t := range v.Tenants {
		fmt.Fprintf(w, "tenant %s   complete up to %s   requests in the last minute %d of %d\n", t.Tenant, t.Watermark.Format(shownTime), t.Requests.LastMinute, t.Requests.Limit)
		for _, c := range t.Conditions {
			fmt.Fprintf(w, "  ! %s since %s: %s\n", c.Name, c.Since.UTC().Format(shownTime), c.Sentence)
		}
		fmt.Fprint(w, "\nwindow\tstate\trows\trevisions\trejects\tvanished\tpages\tscans\tlast scan\tnext scan\n")
		windows, months := t.Windows, []month(nil)
		if !all && len(windows) > shownWindows {
			windows, months = windows[:shownWindows], fold(windows[shownWindows:])
		}
		for _, x := range windows {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", x.From, x.State, x.Rows, x.Revisions, x.Rejects, x.Vanished, x.Pages, x.Scans, shown(x.LastScan), shown(x.NextScan))
		}
		for _, m := range months {
			fmt.Fprintf(w, "%s\t%d of %d settled\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", m.name, m.settled, m.days, m.Rows, m.Revisions, m.Rejects, m.Vanished, m.Pages, m.Scans, shown(m.LastScan), shown(m.NextScan))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "shard\towner\tinstance\tsince\n")
	for _, s := range v.Shards {
		owner := s.Owner
		if owner == "" {
			owner = "-"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", s.Shard, owner, s.Instance, shown(s.Since))
	}
	return w.Flush()
}

func shown(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(shownTime)
}

// month is the windows of a month, added up: the newest last scan and the earliest next one.
type month struct {
	name          string
	days, settled int
	status.Window
}

// fold adds up windows that are in order.
func fold(windows []status.Window) []month {
	var ms []month
	for _, x := range windows {
		name := x.From.Start().Format("2006-01")
		if len(ms) == 0 || ms[len(ms)-1].name != name {
			ms = append(ms, month{name: name})
		}
		m := &ms[len(ms)-1]
		m.days++
		if x.State == status.Settled {
			m.settled++
		}
		m.Rows += x.Rows
		m.Revisions += x.Revisions
		m.Rejects += x.Rejects
		m.Vanished += x.Vanished
		m.Pages += x.Pages
		m.Scans += x.Scans
		if x.LastScan != nil && (m.LastScan == nil || x.LastScan.After(*m.LastScan)) {
			m.LastScan = x.LastScan
		}
		if x.NextScan != nil && (m.NextScan == nil || x.NextScan.Before(*m.NextScan)) {
			m.NextScan = x.NextScan
		}
	}
	return ms
}

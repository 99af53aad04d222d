package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"pstncalls/internal/config"
	"pstncalls/internal/kafka"
	"pstncalls/internal/schedule"
	"pstncalls/internal/status"
)

func statusCommand() command {
	return command{
		name:     "status",
		synopsis: "shows windows, conditions and owners, from Kafka alone",
		help: `Reads the state topic, and asks the cluster who has the shards, what transactions are open and how large the topic is, as far as
it may. It asks nothing of Graph and of no running producer. POLL_INTERVAL and POLL_LOOKBACK should be those of
run: they decide when the next scan is due. What a scan that found nothing new has changed stands there up to 10 minutes later.

A window is a UTC day of call start time: open (today), reading, waiting for its next scan, or settled: never read again. Settled
days whose ledgers have been dropped stand together, and so do the older days of a month ("9 of 16 settled"). Rows: published.
Revisions: published for rows that changed. Rejects: sent to the dead-letter topic. Vanished: published, and not returned by Graph any more.

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
	all := fs.Bool("all", false, "do not add up the older windows by month")
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
	now := time.Now().UTC()
	v, err := status.NewView(sv, settings, now)
	if err != nil {
		return err
	}
	// Where nothing was ever committed there is nothing to ask about, and asking would make the cluster create topics of its own.
	if len(sv.Marks) > 0 {
		facts, err := cluster.Facts(ctx, sv.Shards)
		if err != nil {
			return err
		}
		derived, err := status.Derive(sv, facts, settings, status.StateLimits, now)
		if err != nil {
			return err
		}
		v.Add(derived, now)
	}
	if *asJSON {
		enc := json.NewEncoder(e.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	return printView(e.stdout, v, now, *all)
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
	shownTime    = time.DateTime
	shortTime    = "01-02 15:04:05" // in the table of windows, so that a line has at most 120 columns
	shownWidth   = 120
)

func printView(out io.Writer, v *status.View, now time.Time, all bool) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "As of %s. All times are UTC.\n\n", now.Format(shownTime))
	if len(v.Tenants) == 0 {
		fmt.Fprint(w, "No tenant has been polled yet.\n\n")
	}
	for _, t := range v.Tenants {
		printTenant(w, t, v.Shards)
		fmt.Fprint(w, "\nwindow\tstate\trows\trevisions\trejects\tvanished\tscans\tlast scan\tnext scan\n")
		recent, older := t.Windows, []status.Window(nil)
		if !all && len(recent) > shownWindows {
			recent, older = recent[:shownWindows], recent[shownWindows:]
		}
		overdue := false
		for _, x := range append(slices.Clone(recent), fold(older)...) {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", windowName(x), x.State, x.Rows, x.Revisions, x.Rejects, x.Vanished, scans(x), lastScan(x), nextScan(x))
			overdue = overdue || x.LastScan != nil && x.NextScan != nil && x.NextScan.Before(now)
		}
		if overdue {
			fmt.Fprint(w, "A next scan in the past is due, or made: a scan that finds nothing new shows here up to 10 minutes later.\n")
		}
		fmt.Fprintln(w)
	}
	printShards(w, v.Shards)
	return w.Flush()
}

func printTenant(w io.Writer, t status.Tenant, shards []status.Shard) {
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "  %-15s %s\n", label, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "tenant %s\n", t.Tenant)
	if len(t.Conditions) == 0 {
		line("conditions", "none")
	}
	for _, c := range t.Conditions {
		printCondition(w, "  ", c)
	}
	line("polled by", "%s", ownerOf(t.Shard, shards))
	line("complete up to", "%s: the calls that start before have been read, as far as Graph has shown them", t.Watermark.Format(shownTime))
	if at := t.Requests.At; at != nil {
		line("requests", "%d of %d in the minute before %s", t.Requests.LastMinute, t.Requests.Limit, at.UTC().Format(shownTime))
	}
	basis := "expected, none seen yet"
	if t.Lateness.Rows > 0 {
		basis = fmt.Sprintf("of %d seen", t.Lateness.Rows)
	}
	line("lateness", "half of the rows within %s of the call's start, 99 of 100 within %s (%s)", rough(t.Lateness.P50), rough(t.Lateness.P99), basis)
	line("ranges", "how Graph reads them: times of day %s, end %s", proved(t.Reading.Times, t.Reading.TimesProved), proved(t.Reading.End, t.Reading.EndProved))
	if b := t.Backfill; b != nil {
		left := "time left not known yet"
		if b.SecondsLeft != nil {
			left = fmt.Sprintf("about %s left", time.Duration(*b.SecondsLeft)*time.Second)
		}
		line("backfill", "%d days read, %d to go: %d rows in %d pages, %d rows/s, %s", b.DaysRead, b.DaysLeft, b.Rows, b.Pages, b.RowsPerSecond, left)
	}
}

func printCondition(w io.Writer, indent string, c status.Condition) {
	fmt.Fprintf(w, "%s! %s, since %s:\n%s", indent, c.Name, c.Since.UTC().Format(shownTime), wrap(c.Sentence, indent+"  "))
	if c.Do != "" {
		fmt.Fprint(w, wrap("-> "+c.Do, indent+"  "))
	}
}

// ownerOf says who polls the tenants of a shard.
func ownerOf(shard int32, shards []status.Shard) string {
	i := slices.IndexFunc(shards, func(s status.Shard) bool { return s.Shard == shard })
	switch {
	case i < 0 || shards[i].Since == nil:
		return fmt.Sprintf("nobody: its shard %d never had an owner", shard)
	case shards[i].Owner == "":
		return fmt.Sprintf("nobody since %s, when its shard %d was released", shown(shards[i].Since), shard)
	}
	return fmt.Sprintf("%s since %s", shards[i].Instance, shown(shards[i].Since))
}

// proved is what has been learned, and when that was seen last.
func proved(what string, at *time.Time) string {
	if at == nil {
		return "not known yet"
	}
	return fmt.Sprintf("%s (seen %s)", what, at.UTC().Format(time.DateOnly))
}

func printShards(w io.Writer, shards []status.Shard) {
	owned := 0
	for _, s := range shards {
		if s.Owner == "" {
			continue
		}
		if owned++; owned == 1 {
			fmt.Fprint(w, "shard\towner\tinstance\tsince\n")
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", s.Shard, s.Owner, s.Instance, shown(s.Since))
	}
	fmt.Fprintf(w, "%d of %d shards have an owner; those without tenants need none.\n", owned, len(shards))
	for _, s := range shards {
		if len(s.Conditions) > 0 {
			fmt.Fprintf(w, "\nshard %d\n", s.Shard)
		}
		for _, c := range s.Conditions {
			printCondition(w, "  ", c)
		}
	}
}

// wrap breaks a sentence into lines that begin with indent.
func wrap(sentence, indent string) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(sentence) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
			b.WriteString(indent)
			column = len(indent)
		case column+1+n > shownWidth:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String() + "\n"
}

// windowName is a day, or the first and the last of several in a month.
func windowName(x status.Window) string {
	if x.To == x.From+1 {
		return x.From.String()
	}
	return x.From.String() + ".." + (x.To - 1).String()[8:]
}

// rough leaves out the seconds of a duration of whole minutes.
func rough(d string) string { return strings.TrimSuffix(d, "0s") }

func shown(t *time.Time) string { return t.UTC().Format(shownTime) }

// scans is how often a window was read; how often a dropped day was is not kept.
func scans(x status.Window) string {
	if x.State == status.Settled && x.LastScan == nil {
		return "-"
	}
	return strconv.FormatInt(x.Scans, 10)
}

func lastScan(x status.Window) string {
	switch {
	case x.LastScan != nil:
		return x.LastScan.UTC().Format(shortTime)
	case x.State == status.Settled:
		return "-"
	}
	return "never"
}

func nextScan(x status.Window) string {
	switch {
	case x.State == status.BeingRead:
		return "now"
	case x.State == status.Settled:
		return "-"
	case x.NextScan == nil || x.LastScan == nil && x.State != status.Open:
		return "backfill" // nobody knows when that comes so far
	}
	return x.NextScan.UTC().Format(shortTime)
}

// fold adds up the windows of each month: the newest last scan, and the earliest next one of those read before.
func fold(windows []status.Window) []status.Window {
	var out []status.Window
	settled := 0
	for i, x := range windows {
		if i == 0 || !sameMonth(x, windows[i-1]) {
			out = append(out, status.Window{From: x.From, To: x.To})
			settled = 0
		}
		m := &out[len(out)-1]
		m.From = x.From
		if x.State == status.Settled {
			settled += int(x.To - x.From)
		}
		if m.State = status.Settled; settled < int(m.To-m.From) {
			m.State = fmt.Sprintf("%d of %d settled", settled, int(m.To-m.From))
		}
		m.Rows += x.Rows
		m.Revisions += x.Revisions
		m.Rejects += x.Rejects
		m.Vanished += x.Vanished
		m.Scans += x.Scans
		if x.LastScan != nil && (m.LastScan == nil || x.LastScan.After(*m.LastScan)) {
			m.LastScan = x.LastScan
		}
		if x.LastScan != nil && x.NextScan != nil && (m.NextScan == nil || x.NextScan.Before(*m.NextScan)) {
			m.NextScan = x.NextScan
		}
	}
	return out
}

func sameMonth(a, b status.Window) bool { return a.From.String()[:7] == b.From.String()[:7] }

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"sync"

	"pstncalls/internal/config"
	"pstncalls/internal/kafka"
	"pstncalls/schema"
)

func tailCommand() command {
	return command{
		name:     "tail",
		synopsis: "prints committed events as JSON lines",
		help: `Prints one JSON object a line: partition, offset, timestamp, key, headers, and value with Graph's property names. It reads
read_committed, starts at the end and follows, until it is interrupted. A value that cannot be read gives a line with "error" in
place of "value", and exit code 1 at the end.

Example:
  KAFKA_BROKERS=kafka:9092 producer tail --from-beginning --count 3
  KAFKA_BROKERS=kafka:9092 producer tail --dlq --from-beginning --until-end > rejects.jsonl`,
		run: runTail,
	}
}

// line is what tail prints of a record.
type line struct {
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Timestamp string            `json:"timestamp"` // RFC 3339, milliseconds
	Key       string            `json:"key"`
	Headers   map[string]string `json:"headers"`
	Value     any               `json:"value,omitempty"`
	Error     string            `json:"error,omitempty"`
}

func newLine(rec kafka.Record, dlq bool) line {
	l := line{Partition: rec.Partition, Offset: rec.Offset, Timestamp: rec.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z"),
		Key: string(rec.Key), Headers: make(map[string]string, len(rec.Headers))}
	for _, h := range rec.Headers {
		l.Headers[h.Key] = string(h.Value)
	}
	if dlq {
		l.Value = string(rec.Value)
		if json.Valid(rec.Value) {
			l.Value = json.RawMessage(rec.Value)
		}
		return l
	}
	call, err := schema.Decode(rec.Value)
	if err != nil {
		l.Error = err.Error()
		return l
	}
	l.Value = call
	return l
}

type tailOptions struct {
	fromBeginning, untilEnd, dlq bool
	count                        int
}

func runTail(ctx context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("tail", flag.ContinueOnError)
	var o tailOptions
	fs.BoolVar(&o.fromBeginning, "from-beginning", false, "start with the oldest event")
	fs.IntVar(&o.count, "count", 0, "end after so many `events`; 0: no limit")
	fs.BoolVar(&o.untilEnd, "until-end", false, "end with the last event that was committed when the command started")
	fs.BoolVar(&o.dlq, "dlq", false, "print the dead-letter topic: value is the row's JSON, or a string where that is no JSON")
	if err := parseFlags(e, tailCommand(), fs, args); err != nil {
		return err
	}
	if o.count < 0 {
		return &usageError{command: "tail", message: "--count is negative: want 0 or more"}
	}
	cfg, err := config.LoadKafka(e.environ)
	if err != nil {
		return err
	}
	cluster, err := newCluster(cfg, newLog(cfg.Log, e.stderr))
	if err != nil {
		return err
	}
	return tail(ctx, e.stdout, cluster, o)
}

// tail prints records until it is told to stop, which is no error.
func tail(ctx context.Context, out io.Writer, cluster *kafka.Cluster, o tailOptions) error {
	what, topic, variable := "events topic", cluster.Topics().Events, "KAFKA_EVENTS_TOPIC"
	if o.dlq {
		what, topic, variable = "dead-letter topic", cluster.Topics().DLQ, "KAFKA_DLQ_TOPIC"
	}
	from, until, err := bounds(ctx, cluster, topic, o)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil
		}
		return topicError(err, what, topic, variable)
	}
	parent := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type read struct {
		rec kafka.Record
		err error
	}
	reads := make(chan read, 256)
	var wg sync.WaitGroup
	for p := range from {
		wg.Go(func() {
			for rec, err := range partition(ctx, cluster, topic, p, from[p], until[p]) {
				select {
				case reads <- read{rec, err}:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	go func() { wg.Wait(); close(reads) }()
	defer func() { // the goroutines above end before their owner does
		cancel()
		for range reads {
		}
	}()

	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	n, bad := 0, 0
	for r := range reads {
		if r.err != nil {
			if parent.Err() != nil {
				break
			}
			return errors.Join(topicError(r.err, what, topic, variable), w.Flush())
		}
		l := newLine(r.rec, o.dlq)
		if l.Error != "" {
			bad++
		}
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		if len(reads) == 0 { // nothing more is ready: show what there is
			if err := w.Flush(); err != nil {
				return fmt.Errorf("print: %w", err)
			}
		}
		if n++; n == o.count {
			break
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if bad > 0 {
		return fmt.Errorf("%s %s: %d of %d values cannot be read; see \"error\" in their lines", what, topic, bad, n)
	}
	return nil
}

// partition reads one partition with a Reader of its own, for a Reader serves one goroutine.
func partition(ctx context.Context, cluster *kafka.Cluster, topic string, p int32, from, until int64) func(func(kafka.Record, error) bool) {
	return func(yield func(kafka.Record, error) bool) {
		r, err := cluster.NewReader()
		if err != nil {
			yield(kafka.Record{}, err)
			return
		}
		defer r.Close()
		r.Partition(ctx, topic, p, from, until)(yield)
	}
}

// bounds returns the first offset to read and the one to end before, by partition.
func bounds(ctx context.Context, cluster *kafka.Cluster, topic string, o tailOptions) (from, until map[int32]int64, err error) {
	r, err := cluster.NewReader()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ends, err := r.StableEnds(ctx, topic)
	if err != nil {
		return nil, nil, err
	}
	from, until = map[int32]int64{}, map[int32]int64{}
	for p, end := range ends {
		from[p], until[p] = end, kafka.Forever
		if o.fromBeginning {
			from[p] = 0
		}
		if o.untilEnd {
			until[p] = end
		}
	}
	return from, until, nil
}

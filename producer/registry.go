package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"pstncalls/internal/clock"
	"pstncalls/internal/config"
	"pstncalls/schema"
)

// newRegistry returns a client of the schema registry that cfg names. It connects to nothing.
func newRegistry(cfg config.Registry) (*sr.Client, error) {
	opts := []sr.ClientOpt{sr.URLs(cfg.URL.String()), sr.UserAgent("pstn-calls-producer")}
	if cfg.Username != "" {
		opts = append(opts, sr.BasicAuth(cfg.Username, cfg.Password.Reveal()))
	}
	cl, err := sr.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	return cl, nil
}

// subjectOf returns the subject of a topic's values, by Confluent's TopicNameStrategy.
func subjectOf(topic string) string { return topic + "-value" }

// theSchema is the file's own text: a canonical form would lose defaults and documentation.
func theSchema() sr.Schema { return sr.Schema{Schema: schema.PstnCallSchema(), Type: sr.TypeAvro} }

const (
	registryFirstPause = 500 * time.Millisecond
	registryLastPause  = 15 * time.Second
	registrySayEvery   = time.Minute
)

// register registers the event's schema for the topic and returns its id. It is idempotent. It waits until the registry is
// ready, saying so once a minute; what the registry refuses is an error at once.
func register(ctx context.Context, cl *sr.Client, topic string, log *slog.Logger) (int, error) {
	var said time.Time
	for pause := registryFirstPause; ; pause = min(2*pause, registryLastPause) {
		id, err := registerOnce(ctx, cl, topic)
		if err == nil || !registryWaits(err) {
			return id, err
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if time.Since(said) >= registrySayEvery {
			said = time.Now()
			log.Warn("waiting for the schema registry", "error", err)
		}
		if err := clock.Sleep(ctx, clock.System, pause); err != nil {
			return 0, err
		}
	}
}

func registerOnce(ctx context.Context, cl *sr.Client, topic string) (int, error) {
	subject := subjectOf(topic)
	id, err := cl.RegisterSchema(ctx, subject, theSchema(), -1, -1)
	if err != nil {
		return 0, registryError("register the schema as "+subject, err)
	}
	// The id has 4 bytes in the framing.
	if id < 0 || int64(id) > 1<<32-1 {
		return 0, &refusedSchema{what: "register the schema as " + subject, reason: fmt.Sprintf("its id %d does not fit Confluent's framing", id)}
	}
	return id, nil
}

// refusedSchema is an answer of the registry that will not change by itself.
type refusedSchema struct {
	what   string
	reason string // the registry's own
	mend   string
}

func (e *refusedSchema) Error() string {
	s := "schema registry: " + e.what + ": " + e.reason
	if e.mend != "" {
		s += "; " + e.mend
	}
	return s
}

// registryError classifies an error of the registry. A 4xx is a refusal, but for those that say "later".
func registryError(what string, err error) error {
	var answer *sr.ResponseError
	if !errors.As(err, &answer) {
		return fmt.Errorf("schema registry: %s: %w", what, err)
	}
	refused := &refusedSchema{what: what, reason: fmt.Sprintf("%s (HTTP %d)", clip(answer.Error()), answer.StatusCode)}
	switch code := answer.StatusCode; code {
	case http.StatusConflict, http.StatusUnprocessableEntity:
		refused.mend = "the subject holds a schema that this one is not compatible with: compare it with `producer schema`, or set KAFKA_EVENTS_TOPIC to a topic of its own"
	case http.StatusUnauthorized, http.StatusForbidden:
		refused.mend = "check SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD, and that they may write the subject"
	case http.StatusNotFound:
		refused.mend = "check the path of SCHEMA_REGISTRY_URL"
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return fmt.Errorf("schema registry: %s: HTTP %d: %w", what, code, err)
	default:
		if code >= 500 || code < 400 {
			return fmt.Errorf("schema registry: %s: HTTP %d: %s", what, code, clip(answer.Error()))
		}
	}
	return refused
}

func registryWaits(err error) bool {
	var refused *refusedSchema
	return !errors.As(err, &refused)
}

// clip makes one short line of an answer that may be a whole web page.
func clip(s string) string {
	const most = 500
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// singleObjectFramer frames without a registry: poller.Framer.
type singleObjectFramer struct{}

func (singleObjectFramer) Frame(avro []byte) []byte {
	return schema.AppendSingleObject(make([]byte, 0, len(avro)+10), avro)
}

func (singleObjectFramer) DataSchema() string { return "" }

// confluentFramer frames with the id that the registry gave: poller.Framer.
type confluentFramer struct {
	id  uint32
	url string // of the schema
}

// newConfluentFramer takes the registry's URL, of which it keeps no user name or password.
func newConfluentFramer(id int, registry *url.URL) confluentFramer {
	u := *registry
	u.User = nil
	return confluentFramer{id: uint32(id), url: u.JoinPath("schemas", "ids", fmt.Sprint(id)).String()}
}

func (f confluentFramer) Frame(avro []byte) []byte {
	return schema.AppendConfluent(make([]byte, 0, len(avro)+5), f.id, avro)
}

func (f confluentFramer) DataSchema() string { return f.url }

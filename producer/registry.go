package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
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

// registry asks a schema registry by Confluent's API. Every error of it is final (a *refusedSchema) or will pass.
type registry struct {
	cl     *sr.Client
	url    string
	anyone bool              // no credentials
	hide   *strings.Replacer // the credentials, in what a registry or a proxy may send back
	pause  time.Duration     // before the second attempt
}

const (
	registryTimeout    = 15 * time.Second // of one request: a registry in Java may have to wake up
	registryMostAnswer = 8 << 20
)

// newRegistry returns a client of the schema registry that cfg names. It connects to nothing.
func newRegistry(cfg config.Registry) (*registry, error) {
	return newRegistryOver(http.DefaultTransport, cfg)
}

func newRegistryOver(transport http.RoundTripper, cfg config.Registry) (*registry, error) {
	r := &registry{url: withoutUser(cfg.URL).String(), anyone: cfg.Username == "", hide: strings.NewReplacer(), pause: registryFirstPause}
	opts := []sr.ClientOpt{sr.URLs(r.url), sr.UserAgent("pstn-calls-producer"), sr.HTTPClient(&http.Client{
		Transport: bounded{transport},
		Timeout:   registryTimeout,
		// A POST that follows a redirect becomes a GET, and credentials may not belong where it leads.
		CheckRedirect: func(req *http.Request, _ []*http.Request) error { return &redirected{to: req.URL} },
	})}
	if !r.anyone {
		password := cfg.Password.Reveal()
		opts = append(opts, sr.BasicAuth(cfg.Username, password))
		r.hide = strings.NewReplacer(base64.StdEncoding.EncodeToString([]byte(cfg.Username+":"+password)), "***", password, "***")
	}
	var err error
	if r.cl, err = sr.NewClient(opts...); err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	return r, nil
}

// bounded limits the length of an answer: a URL that is no registry's may give anything.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, registryMostAnswer)
	}
	return resp, err
}

type redirected struct{ to *url.URL }

func (e *redirected) Error() string {
	u := withoutUser(e.to)
	u.RawQuery, u.Fragment = "", "" // a log-in page's may hold a token
	return "it redirects to " + u.String()
}

func withoutUser(u *url.URL) *url.URL {
	v := *u
	v.User = nil
	return &v
}

// subjectOf returns the subject of a topic's values, by Confluent's TopicNameStrategy.
func subjectOf(topic string) string { return topic + "-value" }

// theSchema is the file's own text: a canonical form would lose defaults and documentation.
func theSchema() sr.Schema { return sr.Schema{Schema: schema.PstnCallSchema(), Type: sr.TypeAvro} }

const (
	registryFirstPause = 200 * time.Millisecond
	registryLastPause  = 15 * time.Second
	registrySayEvery   = time.Minute
	registryLostRaces  = 2 // with other replicas' first starts
)

// register registers the event's schema for the topic and returns its id. It is idempotent. It waits until the registry is
// ready, saying so once a minute; what the registry refuses is an error at once.
func register(ctx context.Context, r *registry, topic string, log *slog.Logger) (int, error) {
	done, err := registerWith(ctx, r, subjectOf(topic), log)
	return done.ID, err
}

func registerWith(ctx context.Context, r *registry, subject string, log *slog.Logger) (registration, error) {
	var said time.Time
	lost := 0
	for pause := r.pause; ; pause = min(2*pause, registryLastPause) {
		done, err := r.register(ctx, subject)
		var refused *refusedSchema
		switch {
		case err == nil:
			done.tell(r, log)
			return done, nil
		case ctx.Err() != nil:
			return registration{}, context.Cause(ctx)
		case errors.As(err, &refused) && refused.status == http.StatusConflict && lost < registryLostRaces:
			lost++ // Apicurio 2 answers 409 also to replicas that create one subject at once: the next look finds what the other made
		case refused != nil:
			return registration{}, err
		case time.Since(said) >= registrySayEvery:
			said = time.Now()
			log.Warn("waiting for the schema registry", "error", err)
		}
		if err := clock.Sleep(ctx, clock.System, pause); err != nil {
			return registration{}, err
		}
	}
}

// registration is what register found and did.
type registration struct {
	Subject string `json:"subject"`
	ID      int    `json:"id"`
	Level   string `json:"level"`

	created bool
	held    held
}

// tell says once how far the registry will guard the subject.
func (g registration) tell(r *registry, log *slog.Logger) {
	if g.created {
		log.Info("compatibility level of the new subject set", "subject", g.Subject, "level", g.Level)
		return
	}
	g.held.tell(r, g.Subject, log)
}

func (r *registry) register(ctx context.Context, subject string) (registration, error) {
	done := registration{Subject: subject}
	h, err := r.look(ctx, subject)
	if err != nil {
		return done, err
	}
	done.held, done.Level = h, h.level
	// The level comes before the first schema. A crash after it leaves a subject with our level and no schema, which the next start
	// completes; a crash between schema and level would leave a subject without level, which nobody can tell from one that
	// somebody else keeps so, and the registry would let an incompatible schema in.
	if h.version == 0 && !h.own {
		full := sr.SetCompatibility{Level: sr.CompatFull}
		if err := r.ask(ctx, "set the compatibility level of "+subject, http.MethodPut, configPath(subject), full, &struct{}{}); err != nil {
			return done, err
		}
		done.created, done.Level = true, sr.CompatFull.String()
	}
	what := "register the schema as " + subject
	var given struct {
		ID int64 `json:"id"`
	}
	if err := r.ask(ctx, what, http.MethodPost, versionsPath(subject), theSchema(), &given); err != nil {
		var refused *refusedSchema
		if errors.As(err, &refused) && refused.status == http.StatusConflict {
			refused.mend = r.mendIncompatible(subject)
		}
		return done, err
	}
	if given.ID <= 0 || given.ID > 1<<32-1 { // 4 bytes in the framing
		return done, &refusedSchema{what: what, reason: fmt.Sprintf("its id %d does not fit Confluent's framing", given.ID), mend: mendURL}
	}
	done.ID = int(given.ID)
	return done, r.prove(ctx, done.ID)
}

// prove reads the schema back: an id that stands for another schema would make every event unreadable, and nobody would see it here.
func (r *registry) prove(ctx context.Context, id int) error {
	what := fmt.Sprintf("read the schema of id %d back", id)
	var got struct {
		Schema string `json:"schema"`
	}
	err := r.ask(ctx, what, http.MethodGet, fmt.Sprintf("/schemas/ids/%d", id), nil, &got)
	switch {
	case isNotFound(err): // a registry of several nodes, and this one has not heard of it yet
		return fmt.Errorf("schema registry: %s: not there yet", what)
	case err != nil:
		return err
	case !readsAlike(got.Schema, schema.PstnCallSchema()):
		return &refusedSchema{what: what, reason: fmt.Sprintf("it is another schema (%s), with which no reader could read our events", clip(recordName(got.Schema))),
			mend: "see " + r.url + fmt.Sprintf("/schemas/ids/%d", id) + ": is one registry behind SCHEMA_REGISTRY_URL, with its own data?"}
	}
	return nil
}

// held is what a subject holds.
type held struct {
	level   string // what the registry answers for the subject, or else its global level
	own     bool   // the subject has a level, or Apicurio says so: it answers NONE where a subject that exists has none
	global  string // where it matters
	version int    // the newest, 0: none
}

// look reads the subject, and refuses one that holds somebody else's schema: a registry at level NONE would not.
func (r *registry) look(ctx context.Context, subject string) (held, error) {
	var h held
	var config struct {
		Level string `json:"compatibilityLevel"`
	}
	err := r.ask(ctx, "read the compatibility level of "+subject, http.MethodGet, configPath(subject), nil, &config)
	if err != nil && !isNotFound(err) {
		return h, err
	}
	h.own, h.level = err == nil, config.Level

	var newest struct {
		Version int    `json:"version"`
		Type    string `json:"schemaType"`
		Schema  string `json:"schema"`
	}
	err = r.ask(ctx, "read the newest schema of "+subject, http.MethodGet, versionsPath(subject)+"/latest", nil, &newest)
	if err != nil && !isNotFound(err) {
		return h, err
	}
	if err == nil {
		h.version = max(newest.Version, 1)
		name := recordName(newest.Schema)
		if newest.Type != "" && newest.Type != "AVRO" {
			name = "a schema of type " + clip(newest.Type)
		}
		if ours := recordName(schema.PstnCallSchema()); name != ours {
			return h, &refusedSchema{what: "subject " + subject,
				reason: fmt.Sprintf("it is somebody else's: its version %d is %s, ours is %s", newest.Version, clip(name), ours),
				mend:   "set KAFKA_EVENTS_TOPIC to a topic of its own, or delete the subject if nobody uses it"}
		}
	}
	if h.own && h.level != none || !h.own && h.version == 0 {
		return h, nil
	}
	config.Level = "unknown" // to a user who may not read it; it is wanted for the log alone
	err = r.ask(ctx, "read the global compatibility level", http.MethodGet, "/config", nil, &config)
	if refused := (*refusedSchema)(nil); err != nil && !errors.As(err, &refused) {
		return h, err
	}
	if h.global = config.Level; !h.own {
		h.level = h.global
	}
	return h, nil
}

const none = "NONE"

// tell says what guards a subject that this program leaves as it is.
func (h held) tell(r *registry, subject string, log *slog.Logger) {
	switch {
	case h.level == none:
		log.Warn("the registry may accept incompatible schemas for the subject: its compatibility level is NONE", "subject", subject, "global", h.global,
			"mend", r.curl(configPath(subject))+` -X PUT -H 'Content-Type: application/json' -d '{"compatibility": "FULL"}'`)
	case !h.own && h.version > 0:
		log.Info("the subject has no compatibility level of its own: the registry's applies", "subject", subject, "level", h.level)
	}
}

func configPath(subject string) string   { return "/config/" + url.PathEscape(subject) }
func versionsPath(subject string) string { return "/subjects/" + url.PathEscape(subject) + "/versions" }

// ask makes one request. what says in words what it is for.
func (r *registry) ask(ctx context.Context, what, method, path string, body, into any) error {
	var answer []byte
	if err := r.cl.Do(ctx, method, path, body, &answer); err != nil {
		return r.explain(what, err)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return &refusedSchema{what: what, reason: "the answer is not a registry's: " + r.excerpt(answer), mend: mendURL}
	}
	return nil
}

// refusedSchema is an answer of the registry that will not change by itself.
type refusedSchema struct {
	what   string
	reason string // the registry's own
	mend   string
	status int // of HTTP
	code   int // of the registry
}

func (e *refusedSchema) Error() string {
	s := "schema registry: " + e.what + ": " + e.reason
	if e.mend != "" {
		s += "; " + e.mend
	}
	return s
}

// isNotFound tells the registry's "no such subject, version, level or id" from a path that it does not know.
func isNotFound(err error) bool {
	var refused *refusedSchema
	return errors.As(err, &refused) && refused.status == http.StatusNotFound && refused.code/100 == http.StatusNotFound
}

const mendURL = "set SCHEMA_REGISTRY_URL to the root of the registry's Confluent API (Apicurio's ends in /apis/ccompat/v7)"

// explain classifies an error of the registry's client. A 4xx is a refusal, but for those that say "later".
func (r *registry) explain(what string, err error) error {
	var answer *sr.ResponseError
	if !errors.As(err, &answer) {
		var to *redirected
		var long *http.MaxBytesError
		var failed *url.Error
		switch {
		case errors.As(err, &to):
			return &refusedSchema{what: what, reason: to.Error(), mend: mendURL}
		case errors.As(err, &long):
			return &refusedSchema{what: what, reason: "the answer is too long for a registry's", mend: mendURL}
		case errors.As(err, &failed):
			err = failed.Err // the URL stands in it twice
		}
		return fmt.Errorf("schema registry %s: %s: %w", r.url, what, err)
	}
	text := answer.Raw
	if answer.Message != "" {
		text = []byte(answer.Message)
	}
	reason := fmt.Sprintf("%s (HTTP %d)", r.excerpt(text), answer.StatusCode)
	refused := &refusedSchema{what: what, reason: reason, status: answer.StatusCode, code: answer.ErrorCode, mend: mendURL}
	switch status := answer.StatusCode; {
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return fmt.Errorf("schema registry %s: %s: %s", r.url, what, reason)
	case status == http.StatusUnauthorized && r.anyone:
		refused.mend = "set SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD"
	case status == http.StatusUnauthorized:
		refused.mend = "check SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD"
	case status == http.StatusForbidden:
		refused.mend = "let the user of SCHEMA_REGISTRY_USERNAME read and write the subject and its compatibility level"
	case status == http.StatusConflict:
		refused.mend = "see what the registry says of the subject, and try again" // unless the caller knows better
	case status == http.StatusUnprocessableEntity && answer.ErrorCode == 42205:
		refused.mend = "set the mode of the subject, and of the registry, to READWRITE"
	case status == http.StatusUnprocessableEntity:
		refused.mend = "the registry has rules that the schema breaks: change those, or set KAFKA_EVENTS_TOPIC to a topic of its own"
	}
	return refused
}

// curl is the command that asks the registry by hand.
func (r *registry) curl(path string) string {
	user := ""
	if !r.anyone {
		user = ` -u "$SCHEMA_REGISTRY_USERNAME"`
	}
	return "curl -s" + user + " '" + r.url + path + "'"
}

// mendIncompatible says how to see what the registry may not tell: Apicurio 3's check gives no reason.
func (r *registry) mendIncompatible(subject string) string {
	return "see the differences: diff <(" + r.curl(versionsPath(subject)+"/latest/schema") + " | jq -S .) <(producer schema | jq -S .); " +
		"then run a release that fits, or set KAFKA_EVENTS_TOPIC to a topic of its own"
}

// excerpt makes one short line of an answer, which may be a whole web page, and hides the credentials in it.
func (r *registry) excerpt(answer []byte) string {
	if s := strings.TrimSpace(string(answer)); strings.HasPrefix(s, "<") {
		return "a web page"
	}
	if len(answer) == 0 {
		return "nothing"
	}
	return clip(r.hide.Replace(string(answer)))
}

// clip makes one short line.
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
	return confluentFramer{id: uint32(id), url: withoutUser(registry).JoinPath("schemas", "ids", fmt.Sprint(id)).String()}
}

func (f confluentFramer) Frame(avro []byte) []byte {
	return schema.AppendConfluent(make([]byte, 0, len(avro)+5), f.id, avro)
}

func (f confluentFramer) DataSchema() string { return f.url }

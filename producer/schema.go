package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"

	"pstncalls/internal/config"
	"pstncalls/schema"
)

func schemaCommand() command {
	return command{
		name:     "schema",
		synopsis: "prints, registers or checks the Avro schema of the events",
		help: `Prints the schema as it is registered. With --register or --check it asks the registry of SCHEMA_REGISTRY_URL instead, for
the subject <KAFKA_EVENTS_TOPIC>-value. run registers it by itself.

A subject that does not exist yet gets the compatibility level FULL before its first schema. The level of any other is left as it is.
--register waits for a registry that is away, --check does not.

Example:
  producer schema > pstn_call.avsc
  SCHEMA_REGISTRY_URL=https://registry:8081 KAFKA_BROKERS=kafka:9092 producer schema --check --json

Exit codes: 0 registered or compatible, 1 refused, not compatible, or the registry does not answer (--json prints "compatible": false
where it did), 2 bad usage or configuration.`,
		run: runSchema,
	}
}

func runSchema(ctx context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("schema", flag.ContinueOnError)
	reg := fs.Bool("register", false, "register it, and print its id")
	check := fs.Bool("check", false, "ask whether it is compatible with what the subject holds; registers and sets nothing")
	asJSON := fs.Bool("json", false, "with --register or --check: as one JSON object")
	if err := parseFlags(e, schemaCommand(), fs, args); err != nil {
		return err
	}
	if *reg && *check {
		return &usageError{command: "schema", message: "--register and --check: want one of them"}
	}
	if *asJSON && !*reg && !*check {
		return &usageError{command: "schema", message: "--json goes with --register or --check: the schema is JSON as it is"}
	}
	if !*reg && !*check {
		_, err := io.WriteString(e.stdout, strings.TrimRight(schema.PstnCallSchema(), "\n")+"\n")
		return err
	}
	cfg, err := config.LoadKafka(e.environ)
	if err != nil {
		return err
	}
	if cfg.Registry.URL == nil {
		return &usageError{command: "schema", message: "there is no schema registry: set SCHEMA_REGISTRY_URL"}
	}
	r, err := newRegistry(cfg.Registry)
	if err != nil {
		return err
	}
	log, subject := newLog(cfg.Log, e.stderr), subjectOf(cfg.Kafka.EventsTopic)
	if *check {
		return checkSchema(ctx, e, r, subject, *asJSON, log)
	}
	done, err := registerWith(ctx, r, subject, log)
	switch {
	case err != nil:
		return err
	case *asJSON:
		return printJSON(e.stdout, done)
	}
	_, err = fmt.Fprintf(e.stdout, "registered: subject=%s id=%d level=%s\n", done.Subject, done.ID, done.Level)
	return err
}

// checked is what --check found.
type checked struct {
	Subject    string `json:"subject"`
	Compatible bool   `json:"compatible"`
	Level      string `json:"level"`   // of compatibility; empty where register would set FULL
	Version    int    `json:"version"` // the newest; 0: the subject holds no schema
	Reason     string `json:"reason,omitempty"`
}

// check asks once: whoever checks wants an answer now.
func (r *registry) check(ctx context.Context, subject string) (checked, held, error) {
	h, err := r.look(ctx, subject)
	c := checked{Subject: subject, Compatible: true, Level: h.level, Version: h.version}
	if err != nil || h.version == 0 {
		return c, h, err
	}
	path := "/compatibility" + versionsPath(subject)
	if !strings.HasSuffix(h.level, "_TRANSITIVE") { // those count all versions; not every registry answers without one
		path += "/latest"
	}
	var answer struct {
		Compatible bool     `json:"is_compatible"`
		Messages   []string `json:"messages"` // Confluent's
		Reason     string   `json:"reason"`   // Apicurio 2's; 3 gives none
	}
	if err := r.ask(sr.WithParams(ctx, sr.Verbose), "check the schema against "+subject, http.MethodPost, path, theSchema(), &answer); err != nil {
		return c, h, err
	}
	if c.Compatible = answer.Compatible; c.Compatible {
		return c, h, nil
	}
	c.Reason = "the registry gives no reason"
	if said := strings.TrimSpace(strings.Join(append(answer.Messages, answer.Reason), " ")); said != "" {
		c.Reason = r.excerpt([]byte(said))
	}
	return c, h, nil
}

func checkSchema(ctx context.Context, e env, r *registry, subject string, asJSON bool, log *slog.Logger) error {
	c, h, err := r.check(ctx, subject)
	if err != nil {
		return err
	}
	h.tell(r, subject, log)
	switch {
	case asJSON:
		err = printJSON(e.stdout, c)
	case !c.Compatible:
	case c.Version == 0:
		_, err = fmt.Fprintf(e.stdout, "compatible: subject=%s holds no schema yet\n", subject)
	default:
		_, err = fmt.Fprintf(e.stdout, "compatible: subject=%s level=%s version=%d\n", subject, c.Level, c.Version)
	}
	if err == nil && !c.Compatible {
		what := fmt.Sprintf("the schema is not compatible with version %d of %s", c.Version, subject)
		err = &refusedSchema{what: what, reason: c.Reason, mend: r.mendIncompatible(subject)}
	}
	return err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
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
the subject <KAFKA_EVENTS_TOPIC>-value; run registers it by itself.

Example:
  producer schema > pstn_call.avsc
  SCHEMA_REGISTRY_URL=https://registry:8081 KAFKA_BROKERS=kafka:9092 producer schema --check`,
		run: runSchema,
	}
}

func runSchema(ctx context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("schema", flag.ContinueOnError)
	reg := fs.Bool("register", false, "register it, and print its id")
	check := fs.Bool("check", false, "ask whether it is compatible with the newest registered version; registers nothing")
	if err := parseFlags(e, schemaCommand(), fs, args); err != nil {
		return err
	}
	if *reg && *check {
		return &usageError{command: "schema", message: "--register and --check: want one of them"}
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
	cl, err := newRegistry(cfg.Registry)
	if err != nil {
		return err
	}
	if *reg {
		id, err := register(ctx, cl, cfg.Kafka.EventsTopic, newLog(cfg.Log, e.stderr))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "registered: subject=%s id=%d\n", subjectOf(cfg.Kafka.EventsTopic), id)
		return err
	}
	return checkSchema(ctx, e.stdout, cl, subjectOf(cfg.Kafka.EventsTopic))
}

// checkSchema asks once: whoever checks wants an answer now.
func checkSchema(ctx context.Context, w io.Writer, cl *sr.Client, subject string) error {
	res, err := cl.CheckCompatibility(ctx, subject, -1, theSchema())
	var answer *sr.ResponseError
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound && (answer.ErrorCode == 40401 || answer.ErrorCode == 40402):
		_, err := fmt.Fprintf(w, "compatible: subject=%s holds no schema yet\n", subject)
		return err
	case err != nil:
		return registryError("check the schema against "+subject, err)
	case !res.Is:
		reason := "the registry gives no reason"
		if len(res.Messages) > 0 {
			reason = clip(strings.Join(res.Messages, "; "))
		}
		return fmt.Errorf("schema registry: the schema is not compatible with the newest one of %s: %s", subject, reason)
	}
	_, err = fmt.Fprintf(w, "compatible: subject=%s\n", subject)
	return err
}

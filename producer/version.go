package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"pstncalls/schema"
)

// A build may name its version and its commit, which the image's Dockerfile does: -ldflags "-X main.release=v1.2.3 -X main.revision=…".
var release, revision string

func versionCommand() command {
	return command{
		name:     "version",
		synopsis: "prints which build this is",
		help: `Prints the version, the commit it was built from (where the build noted it), and the fingerprint of
the event's schema.

Example:
  producer version --json`,
		run: runVersion,
	}
}

// build says which build the program is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // commit
	Time     string `json:"time,omitempty"`     // of the commit
	Modified bool   `json:"modified"`           // built from a tree that differs from the commit
	Go       string `json:"go"`
	Schema   string `json:"schemaFingerprint"`
}

func version() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	b := buildOf(info, release)
	b.Revision = cmp.Or(b.Revision, revision)
	return b
}

func buildOf(info *debug.BuildInfo, release string) build {
	b := build{Version: release, Go: runtime.Version(), Schema: fmt.Sprintf("%016x", schema.PstnCallFingerprint())}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String returns the build in one line.
func (b build) String() string {
	parts := []string{"producer " + b.Version}
	if b.Revision != "" {
		parts = append(parts, "commit "+b.Revision[:min(len(b.Revision), 12)])
	}
	if b.Time != "" {
		parts = append(parts, b.Time)
	}
	if b.Modified {
		parts = append(parts, "modified")
	}
	return strings.Join(append(parts, b.Go, "schema "+b.Schema), ", ")
}

func runVersion(_ context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("version", flag.ContinueOnError)
	asJSON := fs.Bool("json", false, "as one JSON object")
	if err := parseFlags(e, versionCommand(), fs, args); err != nil {
		return err
	}
	if !*asJSON {
		_, err := fmt.Fprintln(e.stdout, version())
		return err
	}
	return json.NewEncoder(e.stdout).Encode(version())
}

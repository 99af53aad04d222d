package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pstncalls/internal/config"
)

// Set-ups that ship with the program, and where their variables stand in them.
var (
	configMapData = regexp.MustCompile(`(?m)^  ([A-Z][A-Z0-9_]+): (.*)$`)
	unitVariable  = regexp.MustCompile(`(?m)^Environment=([A-Z0-9_]+)=(.*)$`)
	appVariable   = regexp.MustCompile(`(?m)^ +- \{ name: ([A-Z0-9_]+), (?:value|secretRef): (.*) \}$`)
	envLine       = regexp.MustCompile(`(?m)^([A-Z0-9_]+)=(.*)$`)
	composeLine   = regexp.MustCompile(`(?m)^      ([A-Z0-9_]+): (.*)$`)
	imageVariable = regexp.MustCompile(`(?m)^ENV ([A-Z0-9_]+)=(.*)$`)
	interpolation = regexp.MustCompile(`\$\{(\w+)(:?)-([^}]*)\}`)
)

func repoFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// variables returns what the pattern finds: names and values.
func variables(t *testing.T, pattern *regexp.Regexp, text string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		found[m[1]] = strings.Trim(m[2], `"`)
	}
	if len(found) == 0 {
		t.Fatalf("no variable found by %s", pattern)
	}
	return found
}

// loads checks that the program knows each of the variables, and finds nothing to object to in their values. Secrets are in a file.
func loads(t *testing.T, vars map[string]string) *config.Config {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a secret of some length"), 0o600); err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, v := range config.Manual() {
		known[v.Name] = true
		known[v.Name+"_FILE"] = known[v.Name+"_FILE"] || v.Secret
	}
	var environ []string
	for name, value := range vars {
		if !known[name] {
			t.Errorf("the program has no variable %s", name)
		}
		if strings.HasSuffix(name, "_FILE") && value != "" {
			value = secret
		}
		environ = append(environ, name+"="+value)
	}
	cfg, err := config.Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDeployments(t *testing.T) {
	for name, pattern := range map[string]*regexp.Regexp{
		"kubernetes.yaml": configMapData, "pstncalls.service": unitVariable, "container-app.yaml": appVariable,
	} {
		t.Run(name, func(t *testing.T) {
			text := repoFile(t, ".compose/deploy/"+name)
			cfg := loads(t, variables(t, pattern, text))
			if cfg.Graph.Auth != "azure" || !cfg.Kafka.TLS.Enabled || cfg.Kafka.SASL.Password.Reveal() == "" {
				t.Errorf("not for production: %+v", cfg)
			}
			if strings.HasSuffix(name, ".yaml") {
				if !strings.HasPrefix(cfg.Admin.Addr, "0.0.0.0:8080") || !strings.Contains(text, "/readyz") || !strings.Contains(text, "/healthz") {
					t.Errorf("the probes do not reach it: ADMIN_ADDR=%s", cfg.Admin.Addr)
				}
			}
		})
	}
}

// composed returns the producer's variables in docker-compose.yml with a .env file.
func composed(t *testing.T, dotenv map[string]string) map[string]string {
	t.Helper()
	_, text, _ := strings.Cut(repoFile(t, "docker-compose.yml"), "\n  producer:\n")
	_, text, _ = strings.Cut(text, "    environment:\n")
	text, _, _ = strings.Cut(text, "    secrets:")
	vars := variables(t, composeLine, text)
	for name, value := range vars {
		vars[name] = interpolation.ReplaceAllStringFunc(value, func(s string) string {
			m := interpolation.FindStringSubmatch(s)
			if v, ok := dotenv[m[1]]; ok && (v != "" || m[2] == "") {
				return v
			}
			return m[3]
		})
	}
	maps.Copy(vars, variables(t, imageVariable, repoFile(t, "Dockerfile")))
	return vars
}

// docker compose up reads the simulator; with .env, the tenant that is named there.
func TestCompose(t *testing.T) {
	if cfg := loads(t, composed(t, nil)); cfg.Graph.Auth != "none" || cfg.Graph.Endpoint == nil || cfg.Graph.Endpoint.Host != "simulator:8900" {
		t.Errorf("without .env: %+v", cfg.Graph)
	}
	dotenv := variables(t, envLine, repoFile(t, ".compose/real.env"))
	cfg := loads(t, composed(t, dotenv))
	if cfg.Graph.Auth != "azure" || cfg.Graph.Endpoint != nil || cfg.Azure.ClientSecret.Reveal() == "" || cfg.Graph.RequestsPerMinute != 45 ||
		!slices.Equal(cfg.Graph.Tenants, []string{dotenv["AZURE_TENANT_ID"]}) {
		t.Errorf("with .env: %+v", cfg.Graph)
	}
	for name := range dotenv {
		if !strings.Contains(repoFile(t, "docker-compose.yml"), "${"+name) {
			t.Errorf(".compose/real.env sets %s, which docker-compose.yml does not take", name)
		}
	}
	if start := repoFile(t, ".compose/connect/start"); !strings.Contains(start, "KAFKA_EVENTS_TOPIC:-"+cfg.Kafka.EventsTopic+"}") {
		t.Errorf("Kafka Connect does not read %s", cfg.Kafka.EventsTopic)
	}
}

// The simulator's command line in docker-compose.yml is one.
func TestComposeSimulator(t *testing.T) {
	m := regexp.MustCompile(`command: \[(simulate, .*)\]`).FindStringSubmatch(repoFile(t, "docker-compose.yml"))
	if m == nil {
		t.Fatal("no simulator")
	}
	args := strings.Split(strings.ReplaceAll(m[1], `"`, ""), ", ")
	args[slices.Index(args, "--listen")+1] = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, stderr := invoke(ctx, nil, "", args...); code != exitDone {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// The image's health check is a command, and its build says which it is.
func TestImage(t *testing.T) {
	text := repoFile(t, "Dockerfile")
	m := regexp.MustCompile(`HEALTHCHECK .* CMD \["/producer", "(\w+)"\]`).FindStringSubmatch(text)
	if m == nil || !slices.ContainsFunc(commands(), func(c command) bool { return c.name == m[1] }) {
		t.Errorf("health check: %q", m)
	}
	if !strings.Contains(text, "-X main.release=") || !strings.Contains(text, "-X main.revision=") {
		t.Error("the build names neither version nor commit")
	}
	defer func(a, b string) { release, revision = a, b }(release, revision)
	release, revision = "v9", "0123456789abcdef"
	if b := version(); b.Version != "v9" || b.Revision != "0123456789abcdef" {
		t.Errorf("%+v", b)
	}
}

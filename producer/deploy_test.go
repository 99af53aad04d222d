package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"pstncalls/internal/config"
)

// Set-ups that ship with the program, and where their variables stand in them.
var (
	unitVariable  = regexp.MustCompile(`(?m)^Environment=([A-Z0-9_]+)=(.*)$`)
	envLine       = regexp.MustCompile(`(?m)^([A-Z0-9_]+)=(.*)$`)
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

// manifest is what the tests ask of a set-up in YAML, whichever of the kinds it is: a field that is misspelt there is absent here.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string // of a ConfigMap
	Spec     struct {          // of a Deployment or PodDisruptionBudget
		Replicas     int
		MinAvailable int `yaml:"minAvailable"`
		Selector     struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     pod
		}
	}
	Properties struct{ Template pod } // of a container app
}

type pod struct {
	SecurityContext struct {
		RunAsNonRoot bool `yaml:"runAsNonRoot"`
	} `yaml:"securityContext"`
	Scale struct {
		MinReplicas int `yaml:"minReplicas"`
	}
	Containers []struct {
		Image   string
		Args    []string
		EnvFrom []struct {
			ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
		} `yaml:"envFrom"`
		Env []struct {
			Name, Value string
			SecretRef   string `yaml:"secretRef"`
		}
		Ports []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		ReadinessProbe probe `yaml:"readinessProbe"`
		LivenessProbe  probe `yaml:"livenessProbe"`
		Probes         []probe
		VolumeMounts   []struct {
			MountPath string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
		SecurityContext struct {
			ReadOnlyRootFilesystem bool `yaml:"readOnlyRootFilesystem"`
		} `yaml:"securityContext"`
	}
}

type probe struct {
	Type    string
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// manifests parses the documents of a file, by kind; a container app has its type for one.
func manifests(t *testing.T, name string) map[string]manifest {
	t.Helper()
	found := make(map[string]manifest)
	for d := yaml.NewDecoder(strings.NewReader(repoFile(t, name))); ; {
		var m manifest
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		found[m.Kind] = m
	}
}

// production checks what every set-up for production has to have, and that the probes reach it.
func production(t *testing.T, vars map[string]string, port string, readiness, liveness probe) {
	t.Helper()
	cfg := loads(t, vars)
	if cfg.Graph.Auth != "azure" || !cfg.Kafka.TLS.Enabled || cfg.Kafka.SASL.Password.Reveal() == "" {
		t.Errorf("not for production: %+v", cfg)
	}
	if cfg.Admin.Addr != "0.0.0.0:"+port || readiness.HTTPGet.Path != "/readyz" || liveness.HTTPGet.Path != "/healthz" {
		t.Errorf("the probes %+v, %+v do not reach it: ADMIN_ADDR=%s", readiness, liveness, cfg.Admin.Addr)
	}
}

func TestKubernetes(t *testing.T) {
	kinds := manifests(t, ".compose/deploy/kubernetes.yaml")
	settings, deployment, budget := kinds["ConfigMap"], kinds["Deployment"].Spec, kinds["PodDisruptionBudget"].Spec
	if len(kinds) != 3 || len(deployment.Template.Spec.Containers) != 1 {
		t.Fatalf("%d kinds, %+v", len(kinds), deployment)
	}
	c, labels := deployment.Template.Spec.Containers[0], deployment.Template.Metadata.Labels
	if len(c.EnvFrom) != 1 || c.EnvFrom[0].ConfigMapRef.Name != settings.Metadata.Name {
		t.Errorf("the variables are of the ConfigMap %s, it takes %+v", settings.Metadata.Name, c.EnvFrom)
	}
	if len(labels) == 0 || !maps.Equal(deployment.Selector.MatchLabels, labels) || !maps.Equal(budget.Selector.MatchLabels, labels) {
		t.Errorf("labels %v, selectors %v and %v", labels, deployment.Selector.MatchLabels, budget.Selector.MatchLabels)
	}
	if deployment.Replicas != 2 || budget.MinAvailable != 1 || !deployment.Template.Spec.SecurityContext.RunAsNonRoot || !c.SecurityContext.ReadOnlyRootFilesystem ||
		!slices.Equal(c.Args, []string{"run"}) {
		t.Errorf("%+v", deployment)
	}
	if len(c.Ports) != 1 || c.ReadinessProbe.HTTPGet.Port != c.Ports[0].Name || c.LivenessProbe.HTTPGet.Port != c.Ports[0].Name {
		t.Fatalf("ports %+v, probes %+v, %+v", c.Ports, c.ReadinessProbe, c.LivenessProbe)
	}
	production(t, settings.Data, strconv.Itoa(c.Ports[0].ContainerPort), c.ReadinessProbe, c.LivenessProbe)
	for name, value := range settings.Data {
		if strings.HasSuffix(name, "_FILE") && (len(c.VolumeMounts) != 1 || !strings.HasPrefix(value, c.VolumeMounts[0].MountPath+"/")) {
			t.Errorf("%s=%s is not mounted: %+v", name, value, c.VolumeMounts)
		}
	}
}

func TestContainerApp(t *testing.T) {
	template := manifests(t, ".compose/deploy/container-app.yaml")[""].Properties.Template
	if len(template.Containers) != 1 || template.Scale.MinReplicas != 2 {
		t.Fatalf("%+v", template)
	}
	c, vars := template.Containers[0], make(map[string]string)
	for _, v := range c.Env {
		vars[v.Name] = v.Value + v.SecretRef
	}
	if len(c.Probes) != 2 || c.Probes[0].Type != "Startup" || c.Probes[1].Type != "Liveness" {
		t.Fatalf("probes: %+v", c.Probes)
	}
	production(t, vars, c.Probes[0].HTTPGet.Port, c.Probes[0], c.Probes[1])
}

func TestSystemdUnit(t *testing.T) {
	cfg := loads(t, variables(t, unitVariable, repoFile(t, ".compose/deploy/pstncalls.service")))
	if cfg.Graph.Auth != "azure" || !cfg.Kafka.TLS.Enabled || cfg.Kafka.SASL.Password.Reveal() == "" {
		t.Errorf("not for production: %+v", cfg)
	}
}

// composeFile is what the tests ask of docker-compose.yml.
type composeFile struct {
	Services map[string]struct {
		Image       string
		Restart     string
		Ports       []string
		Environment map[string]string
		Command     []string
		Secrets     []string
		Volumes     []string
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		Healthcheck map[string]any
		Profiles    []string
	}
	Volumes map[string]any
	Secrets map[string]any
}

func compose(t *testing.T) composeFile {
	t.Helper()
	var f composeFile
	if err := yaml.Unmarshal([]byte(repoFile(t, "docker-compose.yml")), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// Ports are on loopback only, images of others are pinned, servers start again and are waited for until they are healthy.
func TestComposeServices(t *testing.T) {
	f := compose(t)
	if len(f.Services) < 6 {
		t.Fatalf("%d services", len(f.Services))
	}
	for name, s := range f.Services {
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to everybody", name, p)
			}
		}
		if own := strings.HasPrefix(s.Image, "pstncalls"); !own && !regexp.MustCompile(`^[a-z/-]+:[0-9.]+$`).MatchString(s.Image) {
			t.Errorf("%s: image %q is not pinned", name, s.Image)
		}
		if len(s.Profiles) == 0 && s.Restart != "unless-stopped" {
			t.Errorf("%s: restart %q", name, s.Restart)
		}
		for other, how := range s.DependsOn {
			if on, ok := f.Services[other]; !ok || how.Condition != "service_healthy" || on.Healthcheck["test"] == nil {
				t.Errorf("%s waits for %s: %q", name, other, how.Condition)
			}
		}
		for _, v := range s.Volumes {
			if _, ok := f.Volumes[v[:strings.Index(v, ":")]]; !ok {
				t.Errorf("%s: no volume for %s", name, v)
			}
		}
		for _, v := range s.Secrets {
			if f.Secrets[v] == nil {
				t.Errorf("%s: no secret %s", name, v)
			}
		}
	}
}

// composed returns the producer's variables in docker-compose.yml with a .env file.
func composed(t *testing.T, dotenv map[string]string) map[string]string {
	t.Helper()
	vars := compose(t).Services["producer"].Environment
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
	args := compose(t).Services["simulator"].Command
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

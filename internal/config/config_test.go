package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/window"
)

// least is an environment with nothing in it but what is required.
var least = []string{"KAFKA_BROKERS=broker-1:9092", "AZURE_TENANT_ID=contoso.example"}

// lines returns the mistakes that a load of environ reports, one a line.
func lines(t *testing.T, load func([]string) (*Config, error), environ []string) []string {
	t.Helper()
	cfg, err := load(environ)
	if err == nil {
		return nil
	}
	if cfg != nil {
		t.Errorf("a Config beside the error %v", err)
	}
	if _, ok := errors.AsType[*Errors](err); !ok {
		t.Fatalf("error is a %T, want *Errors", err)
	}
	return strings.Split(err.Error(), "\n")
}

// with returns least with more variables, of which a later one replaces an earlier one.
func with(environ ...string) []string { return append(environ, least...) }

// tempFile returns the path of a file with that text.
func tempFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	cfg, err := Load(least)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Azure: Azure{TenantID: "contoso.example"},
		Graph: Graph{Auth: "azure", Tenants: []string{"contoso.example"}, Cloud: "global", APIVersion: "beta",
			RequestsPerMinute: 45, Concurrency: 4},
		Poll: Poll{Start: PollStart{back: 720 * time.Hour}, Interval: 5 * time.Minute, Lookback: 168 * time.Hour},
		Kafka: Kafka{
			Brokers: []string{"broker-1:9092"}, Group: "pstn-calls-producer", GroupProtocol: "classic", SessionTimeout: 6 * time.Second,
			EventsTopic: "pstn-calls", StateTopic: "pstn-calls.state", DLQTopic: "pstn-calls.dlq", WatermarkTopic: "pstn-calls.watermark",
			Compression: "lz4",
		},
		Admin: Admin{Addr: "127.0.0.1:8080"},
		Log:   Log{Format: "text"},
	}
	if d := cmp.Diff(want, cfg, cmp.AllowUnexported(PollStart{}, Secret{})); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if ws := cfg.Warnings(); len(ws) != 0 {
		t.Errorf("warnings %q, want none", ws)
	}
}

// Every variable is set to something that is not its default, and must be found where it belongs.
func TestEverything(t *testing.T) {
	tenants := tempFile(t, "# all of them\n\ncontoso.example # the first\r\n6f6f6f6f-0000-4000-8000-000000000001\n")
	password := tempFile(t, "from a file\r\n")
	cert, key := newCertificate(t)
	cfg, err := Load([]string{
		"AZURE_TENANT_ID=contoso.example", "AZURE_CLIENT_ID=app", "AZURE_CLIENT_SECRET=azure secret",
		"AZURE_AUTHORITY_HOST=https://login.microsoftonline.us/",
		"GRAPH_TENANTS_FILE=" + tenants, "GRAPH_CLOUD=usgov", "GRAPH_ENDPOINT=http://127.0.0.1:8900/", "GRAPH_API_VERSION=v1.0",
		"GRAPH_REQUESTS_PER_MINUTE=50", "GRAPH_CONCURRENCY=32",
		"POLL_START=2h30m", "POLL_INTERVAL=1s", "POLL_LOOKBACK=1m", "POLL_FRESH_START=true",
		"KAFKA_BROKERS=broker-1:9092, [::1]:9093,10.0.0.1:9094",
		"KAFKA_TLS=true", "KAFKA_TLS_CA_FILE=" + cert, "KAFKA_TLS_CERT_FILE=" + cert, "KAFKA_TLS_KEY_FILE=" + key,
		"KAFKA_SASL_MECHANISM=SCRAM-SHA-512", "KAFKA_SASL_USERNAME=user", "KAFKA_SASL_PASSWORD_FILE=" + password,
		"KAFKA_GROUP=group", "KAFKA_GROUP_INSTANCE_ID=replica-1", "KAFKA_SESSION_TIMEOUT=45s",
		"KAFKA_EVENTS_TOPIC=e", "KAFKA_STATE_TOPIC=s", "KAFKA_DLQ_TOPIC=d", "KAFKA_WATERMARK_TOPIC=w", "KAFKA_COMPRESSION=zstd",
		"SCHEMA_REGISTRY_URL=http://registry:8081/apis/ccompat/v7/", "SCHEMA_REGISTRY_USERNAME=r", "SCHEMA_REGISTRY_PASSWORD=registry secret",
		"PRIVACY_FIELDS=callerNumber=mask,userPrincipalName=hash", "PRIVACY_HASH_KEY=0123456789abcdef",
		"ADMIN_ADDR=:0", "LOG_LEVEL=debug", "LOG_FORMAT=json",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, got, want string }{
		{"client secret", cfg.Azure.ClientSecret.Reveal(), "azure secret"},
		{"authority", cfg.Azure.AuthorityHost.String(), "https://login.microsoftonline.us"},
		{"tenants", strings.Join(cfg.Graph.Tenants, " "), "contoso.example 6f6f6f6f-0000-4000-8000-000000000001"},
		{"endpoint", cfg.Graph.Endpoint.String(), "http://127.0.0.1:8900"},
		{"start", cfg.Poll.Start.String(), "2h30m0s"},
		{"brokers", strings.Join(cfg.Kafka.Brokers, " "), "broker-1:9092 [::1]:9093 10.0.0.1:9094"},
		{"password", cfg.Kafka.SASL.Password.Reveal(), "from a file"},
		{"registry", cfg.Registry.URL.String(), "http://registry:8081/apis/ccompat/v7"},
		{"registry password", cfg.Registry.Password.Reveal(), "registry secret"},
		{"hash key", cfg.Privacy.HashKey.Reveal(), "0123456789abcdef"},
		{"level", cfg.Log.Level.String(), "DEBUG"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
	got := *cfg
	got.Azure.ClientSecret, got.Azure.AuthorityHost, got.Graph.Tenants, got.Graph.Endpoint = Secret{}, nil, nil, nil
	got.Poll.Start, got.Kafka.Brokers, got.Kafka.SASL.Password = PollStart{}, nil, Secret{}
	got.Registry.URL, got.Registry.Password, got.Privacy.HashKey, got.Log.Level = nil, Secret{}, Secret{}, 0
	want := Config{
		Azure: Azure{TenantID: "contoso.example", ClientID: "app"},
		Graph: Graph{Auth: "azure", TenantsFile: tenants, Cloud: "usgov", APIVersion: "v1.0", RequestsPerMinute: 50, Concurrency: 32},
		Poll:  Poll{Interval: time.Second, Lookback: time.Minute, FreshStart: true},
		Kafka: Kafka{
			TLS:  TLS{Enabled: true, CAFile: cert, CertFile: cert, KeyFile: key},
			SASL: SASL{Mechanism: "SCRAM-SHA-512", Username: "user"}, Group: "group", GroupProtocol: "classic",
			GroupInstanceID: "replica-1", SessionTimeout: 45 * time.Second, EventsTopic: "e", StateTopic: "s", DLQTopic: "d",
			WatermarkTopic: "w", Compression: "zstd",
		},
		Registry: Registry{Username: "r"},
		Privacy:  Privacy{Fields: "callerNumber=mask,userPrincipalName=hash"},
		Admin:    Admin{Addr: ":0"},
		Log:      Log{Format: "json"},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(PollStart{}, Secret{})); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	conf, err := cfg.Kafka.TLS.Config()
	if err != nil || conf.RootCAs == nil || len(conf.Certificates) != 1 {
		t.Errorf("TLS: %+v, %v, want authorities and one certificate", conf, err)
	}
}

func TestSetButEmptyIsUnset(t *testing.T) {
	environ := with()
	for _, v := range Manual() {
		environ = append(environ, v.Name+"=", v.Name+"_FILE=")
	}
	want, err := Load(least)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(PollStart{}, Secret{})); d != "" {
		t.Errorf("-unset +empty\n%s", d)
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	got := lines(t, Load, []string{"KAFKA_BROKERS=nonsense", "POLL_INTERVAL=soon", "KAFKA_SASL_MECHANISM=PLAIN", "KAFKA_BROKER=x"})
	want := []string{
		`GRAPH_TENANTS: no tenant to poll; want AZURE_TENANT_ID, GRAPH_TENANTS or GRAPH_TENANTS_FILE`,
		`KAFKA_BROKER: is no variable of this program; did you mean KAFKA_BROKERS?`,
		`KAFKA_BROKERS: "nonsense", at place 1, is not host:port; want host:port, comma-separated, such as broker-1:9092,broker-2:9092`,
		`KAFKA_SASL_PASSWORD: not set although KAFKA_SASL_MECHANISM is; want the password at the brokers, or KAFKA_SASL_PASSWORD_FILE`,
		`KAFKA_SASL_USERNAME: not set although KAFKA_SASL_MECHANISM is; want the user name at the brokers`,
		`POLL_INTERVAL: "soon" is not understood; want a duration such as 5m`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestLoadKafka(t *testing.T) {
	environ := []string{"KAFKA_BROKERS=broker-1:9092", "LOG_FORMAT=json", "GRAPH_AUTH=x", "POLL_INTERVAL=soon", "AZURE_CLIENT_SECRET_FILE=/"}
	cfg, err := LoadKafka(environ)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Log.Format != "json" || cfg.Kafka.EventsTopic != "pstn-calls" || cfg.Graph.Auth != "" {
		t.Errorf("got %+v", cfg)
	}
	got := lines(t, LoadKafka, append(environ, "LOG_LEVEL=loud", "KAFKA_GROUP=a b", "SCHEMA_REGISTRY_URL=x", "POLL_INTERVALL=1m"))
	var names []string
	for _, l := range got {
		name, _, _ := strings.Cut(l, ":")
		names = append(names, name)
	}
	if d := cmp.Diff([]string{"KAFKA_GROUP", "LOG_LEVEL", "POLL_INTERVALL", "SCHEMA_REGISTRY_URL"}, names); d != "" {
		t.Errorf("variables with mistakes: -want +got\n%s", d)
	}
}

func TestPollStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // now is 2000-01-01T00:00:00Z
		now := time.Now().UTC()
		for _, c := range []struct{ start, want string }{ // want: a day, or a part of the mistake
			{"720h", "1999-12-02"},
			{"0s", "2000-01-01"},
			{"1ns", "1999-12-31"},
			{"8784h", "1998-12-31"},
			{"8784h0m1s", "is more than 366 days back; want at most 8784h, for Graph keeps the calls of one year"},
			{"-1s", "is in the future"},
			{"1999-11-01", "1999-11-01"},
			{"1999-11-01T23:30:00Z", "1999-11-01"},
			{"1999-11-01T23:30:00-02:00", "1999-11-02"},
			{"2000-01-01", "2000-01-01"},
			{"2000-01-02", "is in the future"},
			{"1998-12-30", "1998-12-31"}, // right when it was set up
			{"1980-01-02", "1998-12-31"},
			{"1979-01-01", "is more than 366 days back"},
			{"0001-01-01T00:00:00Z", "is more than 366 days back"},
			{"30d", `"30d" is not understood; want a duration such as 720h, or a time such as 2026-11-01 or 2026-11-01T00:00:00Z`},
			{"1999-13-01", "is not understood"},
		} {
			cfg, err := Load(with("POLL_START=" + c.start))
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("POLL_START=%s: %v, want %s", c.start, err, c.want)
				}
				continue
			}
			if got := cfg.Poll.Start.Day(now).String(); got != c.want {
				t.Errorf("POLL_START=%s: day %s, want %s", c.start, got, c.want)
			}
		}
	})
}

// A start that is a duration moves along with the clock; one that is an instant stays.
func TestPollStartLater(t *testing.T) {
	var back, fixed PollStart
	if err := errors.Join(back.EnvDecode("48h"), fixed.EnvDecode("2026-11-01")); err != nil {
		t.Fatal(err)
	}
	for _, now := range []time.Time{time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC), time.Date(2027, 2, 5, 12, 0, 0, 0, time.UTC)} {
		if got, want := back.Day(now), window.Of(now)-2; got != want {
			t.Errorf("48h at %s: day %s, want %s", now, got, want)
		}
		if got := fixed.Day(now).String(); got != "2026-11-01" {
			t.Errorf("2026-11-01 at %s: day %s", now, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		environ string
		want    string // part of the only warning, "" for none
	}{
		{"KAFKA_SASL_MECHANISM=PLAIN KAFKA_SASL_USERNAME=u KAFKA_SASL_PASSWORD=p", "KAFKA_SASL_MECHANISM=PLAIN without KAFKA_TLS=true"},
		{"KAFKA_SASL_MECHANISM=PLAIN KAFKA_SASL_USERNAME=u KAFKA_SASL_PASSWORD=p KAFKA_TLS=true", ""},
		{"KAFKA_SASL_MECHANISM=SCRAM-SHA-256 KAFKA_SASL_USERNAME=u KAFKA_SASL_PASSWORD=p", ""},
		{"SCHEMA_REGISTRY_URL=http://r SCHEMA_REGISTRY_USERNAME=u SCHEMA_REGISTRY_PASSWORD=p", "SCHEMA_REGISTRY_URL is plain http"},
		{"SCHEMA_REGISTRY_URL=https://r SCHEMA_REGISTRY_USERNAME=u SCHEMA_REGISTRY_PASSWORD=p", ""},
		{"SCHEMA_REGISTRY_URL=http://localhost SCHEMA_REGISTRY_USERNAME=u SCHEMA_REGISTRY_PASSWORD=p", ""},
		{"SCHEMA_REGISTRY_URL=http://r", ""},
		{"POLL_LOOKBACK=23h", "POLL_LOOKBACK is under 24h"},
		{"GRAPH_REQUESTS_PER_MINUTE=46", "GRAPH_REQUESTS_PER_MINUTE is over 45"},
		{"GRAPH_REQUESTS_PER_MINUTE=4600 GRAPH_AUTH=none GRAPH_ENDPOINT=http://simulator:8900", ""},
	} {
		cfg, err := Load(with(strings.Fields(c.environ)...))
		if err != nil {
			t.Errorf("%s: %v", c.environ, err)
			continue
		}
		ws := cfg.Warnings()
		if c.want == "" && len(ws) != 0 || c.want != "" && (len(ws) != 1 || !strings.Contains(ws[0], c.want)) {
			t.Errorf("%s: warnings %q, want %q", c.environ, ws, c.want)
		}
	}
}

func TestManual(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range Manual() {
		if v.Meaning == "" || seen[v.Name] {
			t.Errorf("%+v: no meaning, or twice", v)
		}
		seen[v.Name] = true
	}
	// The table of the design's section 8.
	for name := range strings.FieldsSeq(`
		AZURE_TENANT_ID AZURE_CLIENT_ID AZURE_CLIENT_SECRET AZURE_CLIENT_CERTIFICATE_PATH AZURE_FEDERATED_TOKEN_FILE AZURE_AUTHORITY_HOST
		GRAPH_AUTH GRAPH_TENANTS GRAPH_TENANTS_FILE GRAPH_CLOUD GRAPH_ENDPOINT GRAPH_API_VERSION GRAPH_REQUESTS_PER_MINUTE GRAPH_CONCURRENCY
		POLL_START POLL_INTERVAL POLL_LOOKBACK POLL_FRESH_START
		KAFKA_BROKERS KAFKA_TLS KAFKA_TLS_CA_FILE KAFKA_TLS_CERT_FILE KAFKA_TLS_KEY_FILE
		KAFKA_SASL_MECHANISM KAFKA_SASL_USERNAME KAFKA_SASL_PASSWORD
		KAFKA_GROUP KAFKA_GROUP_ADOPT KAFKA_GROUP_PROTOCOL KAFKA_GROUP_INSTANCE_ID KAFKA_SESSION_TIMEOUT
		KAFKA_EVENTS_TOPIC KAFKA_STATE_TOPIC KAFKA_DLQ_TOPIC KAFKA_WATERMARK_TOPIC KAFKA_COMPRESSION
		SCHEMA_REGISTRY_URL SCHEMA_REGISTRY_USERNAME SCHEMA_REGISTRY_PASSWORD PRIVACY_FIELDS PRIVACY_HASH_KEY ADMIN_ADDR LOG_LEVEL LOG_FORMAT`) {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
		delete(seen, name)
	}
	if len(seen) != 0 {
		t.Errorf("not in the design: %v", seen)
	}
}

// The defaults are what the manual says, and each is legal when it is set.
func TestManualDefaults(t *testing.T) {
	environ := with()
	want := map[string]string{"GRAPH_TENANTS": "AZURE_TENANT_ID", "POLL_LOOKBACK": "168h", "KAFKA_TLS": "false", "KAFKA_BROKERS": ""}
	for _, v := range Manual() {
		if w, ok := want[v.Name]; ok && v.Default != w {
			t.Errorf("%s: default %q, want %q", v.Name, v.Default, w)
		}
		if v.Default != "" && v.Name != "GRAPH_TENANTS" { // its default is another variable's value
			environ = append(environ, v.Name+"="+v.Default)
		}
	}
	if _, err := Load(environ); err != nil {
		t.Error(err)
	}
}

package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"pstncalls/internal/kafka"
)

// brokenSetup is a set-up of which one thing is broken, or none.
type brokenSetup struct {
	name  string
	brk   func(*checkWorld)
	fails []string          // the checks that fail
	says  map[string]string // of a check: a part of a line's sentence and what to do
}

func brokenSetups() []brokenSetup {
	return []brokenSetup{
		{"all is well", func(w *checkWorld) { w.prepare() }, nil, map[string]string{
			"variables": "no mistake", "proxy": "none", "tls": "TLS 1.3", "token": "gave one", "roles": "with CallRecords.Read.All", "graph": "3 rows on the first page", "clock": "to the second",
			"brokers": "1 of 1 answer", "versions": "transactions and topic ids", "topics": "6 partitions, 1 replicas, cleanup.policy=delete", "acls": "WRITE, DESCRIBE", "registry": "holds no schema yet",
			"state": "it is empty: run starts at POLL_START", "setup": "new: its calls since POLL_START"}},
		{"nothing there yet", func(*checkWorld) {}, nil, map[string]string{"topics": "run creates it with 6 partitions", "state": "it is empty"}},
		{"through a proxy", func(w *checkWorld) { w.proxy(true) }, nil, map[string]string{"proxy": "by way of 127.0.0.1:", "dns": "the proxy resolves it", "graph": ", and there are more"}},

		{"a mistake in Graph's variables", func(w *checkWorld) { w.environ["GRAPH_API_VERSION"] = "v2" }, []string{"variables"},
			map[string]string{"variables": "GRAPH_API_VERSION", "token": "the variables have mistakes", "brokers": "1 of 1 answer", "setup": "the variables have mistakes"}},
		{"a mistake in Kafka's variables", func(w *checkWorld) { w.environ["KAFKA_SASL_MECHANISM"] = "KERBEROS" }, []string{"variables"},
			map[string]string{"variables": "SCRAM-SHA-512", "brokers": "the variables have mistakes", "registry": "the variables have mistakes"}},
		{"a name that does not resolve", func(w *checkWorld) {
			w.environ["GRAPH_ENDPOINT"] = "https://graph.example.invalid"
			w.setup.transport.DialContext = (&net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, fmt.Errorf("no name server")
			}}}).DialContext
		}, []string{"dns"}, map[string]string{"dns": "name servers", "connection": "open", "token": "gave one", "graph": "the way to graph.example.invalid is barred (dns)"}},
		{"nobody listens", func(w *checkWorld) { w.environ["GRAPH_ENDPOINT"] = "https://127.0.0.1:1" }, []string{"connection"},
			map[string]string{"connection": "firewall", "graph": "is barred (connection)", "roles": "with CallRecords.Read.All"}},
		{"a stranger's certificate", func(w *checkWorld) { w.setup.transport.TLSClientConfig = nil }, []string{"tls"},
			map[string]string{"tls": "SSL_CERT_FILE", "token": "is barred (tls)", "clock": "nobody answered"}},
		{"a proxy that refuses", func(w *checkWorld) { w.proxy(false) }, []string{"proxy"}, map[string]string{"proxy": "answered 407", "tls": "is barred (proxy)", "token": "is barred (proxy)"}},
		{"a proxy that is away", func(w *checkWorld) { w.proxyAt("127.0.0.1:1") }, []string{"proxy"}, map[string]string{"proxy": "HTTPS_PROXY"}},
		{"a wrong secret", func(w *checkWorld) { w.environ["AZURE_CLIENT_SECRET"] = "wrong" }, []string{"token"},
			map[string]string{"token": "check the tenant, client id and credential", "roles": "there is no token", "graph": "there is no token"}},
		{"a missing permission", func(w *checkWorld) {
			w.claims["roles"] = []string{"User.Read.All"}
			w.refuseGraph(http.StatusForbidden)
		}, []string{"roles", "graph"}, map[string]string{"roles": "the token lacks CallRecords.Read.All", "graph": "grant the application permission"}},
		{"a user's token", func(w *checkWorld) {
			w.claims = map[string]any{"scp": "CallRecords.Read.All", "tid": checkTenant}
			w.refuseGraph(http.StatusForbidden)
		}, []string{"roles", "graph"}, map[string]string{"roles": "a user's, not an application's", "graph": "answered 403"}},
		{"another tenant's token", func(w *checkWorld) { w.claims["tid"] = strings.ReplaceAll(checkTenant, "1", "9") }, []string{"roles"}, map[string]string{"roles": "for another tenant"}},
		{"a token that Graph refuses", func(w *checkWorld) {
			w.environ["GRAPH_REQUESTS_PER_MINUTE"] = "1"
			w.refuseGraph(http.StatusUnauthorized)
		}, []string{"graph"}, map[string]string{"graph": "answered 401"}},
		{"another API at the endpoint", func(w *checkWorld) { w.refuseGraph(http.StatusNotFound) }, []string{"graph"}, map[string]string{"graph": "check endpoint, cloud and API version"}},
		{"Graph is over its limit", func(w *checkWorld) { w.refuseGraph(http.StatusTooManyRequests) }, []string{"graph"}, map[string]string{"graph": "answered 429"}},
		{"a clock five minutes ahead", func(w *checkWorld) { w.skew = -5 * time.Minute }, []string{"clock"}, map[string]string{"clock": "ahead of"}},
		{"no broker", func(w *checkWorld) { w.environ["KAFKA_BROKERS"] = "127.0.0.1:1" }, []string{"brokers"},
			map[string]string{"brokers": "connection refused", "topics": "no broker can be reached", "state": "no broker can be reached", "registry": "holds no schema yet"}},
		{"TLS where the brokers have none", func(w *checkWorld) { w.environ["KAFKA_TLS"] = "true" }, []string{"brokers"},
			map[string]string{"brokers": "check KAFKA_BROKERS, KAFKA_TLS", "versions": "no broker can be reached"}},
		{"one broker of two", func(w *checkWorld) { w.environ["KAFKA_BROKERS"] += ",127.0.0.1:1" }, nil, map[string]string{"brokers": "one that answers is enough"}},
		{"topics that lose rows", func(w *checkWorld) {
			w.create(kgo.SeedBrokers(w.broker.ListenAddrs()...), "pstn-calls.dlq", "compact")
		}, []string{"topics"}, map[string]string{"topics": "rows that share a callId would vanish"}},
		{"brokers without transactions", func(w *checkWorld) { w.replaceBroker(kfake.MaxVersions(kversion.V0_10_2())) }, []string{"versions"}, map[string]string{"versions": "no transactions"}},
		{"a wrong password at the brokers", func(w *checkWorld) {
			w.users("sasl-password")
			w.environ["KAFKA_SASL_PASSWORD"] = "sasl-password-wrong"
		}, []string{"brokers"}, map[string]string{"brokers": "check KAFKA_SASL", "acls": "could not be asked"}},
		{"a right that is missing", func(w *checkWorld) { w.users("sasl-password", "pstn-calls") }, []string{"acls"}, map[string]string{"acls": "grant WRITE on topic pstn-calls"}},
		{"all rights and no more", func(w *checkWorld) { w.users("sasl-password") }, nil, map[string]string{"acls": "WRITE, DESCRIBE"}},
		{"transactions that it may only look at", func(w *checkWorld) { w.users("sasl-password", "transactions") }, nil, map[string]string{"acls": "no ACL gives WRITE to User:app"}},
		{"somebody else's schema", func(w *checkWorld) { w.reg.add("pstn-calls", foreignSchema) }, []string{"registry"}, map[string]string{"registry": "somebody else's"}},
		{"a schema that does not fit", func(w *checkWorld) {
			w.reg.add("pstn-calls", oddSchema)
			w.reg.setLevel("pstn-calls", "FULL")
		}, []string{"registry"}, map[string]string{"registry": "not compatible with version 1"}},
		{"a registry that is away", func(w *checkWorld) { w.environ["SCHEMA_REGISTRY_URL"] = "http://127.0.0.1:1" }, []string{"registry"}, map[string]string{"registry": "does not answer"}},
		{"another group's state", func(w *checkWorld) { w.prepare("KAFKA_GROUP=another") }, []string{"state"},
			map[string]string{"state": "set KAFKA_GROUP=another", "setup": "not one that run would go on from"}},
		{"more partitions of the state topic", func(w *checkWorld) {
			w.prepare()
			w.partitions("pstn-calls.state", 13)
		}, []string{"state"}, map[string]string{"state": "tenants would change their shard; partitions cannot be taken back"}},
		{"an events topic that was created anew", func(w *checkWorld) {
			w.prepare()
			w.inUse("{\"v\":1,\"start\":\"2026-11-01\"}")
			w.recreate("pstn-calls")
		}, []string{"state"}, map[string]string{"state": "re-created since the state was written"}},
		{"a damaged state", func(w *checkWorld) {
			w.prepare()
			w.inUse("{\"v\":1,\"start\":")
		}, []string{"state"}, map[string]string{"state": "restore the state topic from a backup", "setup": "not one that run would go on from"}},
		{"a state of a newer version", func(w *checkWorld) {
			w.prepare()
			w.inUse("{\"v\":2}")
		}, []string{"state"}, map[string]string{"state": "has format 2: written by a newer version of this program; run that version"}},
		{"a state that was lost", func(w *checkWorld) {
			w.prepare()
			w.produce(&kgo.Record{Topic: "pstn-calls", Value: []byte("an event")})
		}, []string{"state"}, map[string]string{"state": "everything would be published a second time"}},
	}
}

// TestCheckBrokenSetups breaks one thing at a time: exactly the lines of it, and those that hang on it, fail, and say what to do.
func TestCheckBrokenSetups(t *testing.T) {
	t.Parallel()
	for _, tc := range brokenSetups() {
		t.Run(tc.name, func(t *testing.T) {
			w := newCheckWorld(t)
			tc.brk(w)
			fs := w.check(t.Context())
			failed := map[string]bool{}
			for _, f := range fs {
				if f.Result == kafka.Failed {
					failed[f.Check] = true
				}
				if f.Result != kafka.Fine && f.Result != kafka.NotCheckable && f.Do == "" {
					t.Errorf("%+v: what to do?", f)
				}
			}
			if got := slices.Sorted(maps.Keys(failed)); !slices.Equal(got, slices.Sorted(slices.Values(tc.fails))) {
				t.Errorf("failed %q, want %q", got, tc.fails)
			}
			for check, want := range tc.says {
				if !slices.ContainsFunc(fs, func(f finding) bool {
					return f.Check == check && strings.Contains(f.Subject+": "+f.Sentence+"; "+f.Do, want)
				}) {
					t.Errorf("no line %s says %q", check, want)
				}
			}
			for _, check := range strings.Fields("variables dns connection tls token roles graph clock brokers versions topics acls registry state setup") {
				if !slices.ContainsFunc(fs, func(f finding) bool { return f.Check == check }) {
					t.Errorf("no line %s", check)
				}
			}
			most := int64(1)
			if tc.says["graph"] == "answered 401" {
				most = 2 // with a new token
			}
			if n := w.asked.Load(); n > most {
				t.Errorf("%d requests to Graph", n)
			}
			if m := w.sim.Misuse(); len(m) > 0 {
				t.Errorf("misuse: %q", m)
			}
		})
	}
}

// inUse makes a prepared state one that the tenant has a record in.
func (w *checkWorld) inUse(tenant string) {
	w.t.Helper()
	w.produce(&kgo.Record{Topic: "pstn-calls.state", Key: []byte(checkTenant + "/pstn/tenant"), Value: []byte(tenant)})
}

func (w *checkWorld) produce(rec *kgo.Record) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.ListenAddrs()...))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(w.t.Context(), rec).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// recreate deletes a topic and creates it again.
func (w *checkWorld) recreate(topic string) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.ListenAddrs()...))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if resp, err := adm.DeleteTopic(w.t.Context(), topic); err != nil || resp.Err != nil {
		w.t.Fatal(err, resp.Err)
	}
	if resp, err := adm.CreateTopic(w.t.Context(), 6, 1, nil, topic); err != nil || resp.Err != nil {
		w.t.Fatal(err, resp.Err)
	}
}

// The README's list of them is that of the test.
func TestReadmeBrokenSetups(t *testing.T) {
	want := "| broken | lines that fail |\n|---|---|"
	for _, s := range brokenSetups() {
		if len(s.fails) > 0 {
			want += fmt.Sprintf("\n| %s | `%s` |", s.name, strings.Join(s.fails, "`, `"))
		}
	}
	got := between(t, readme(t), "<!-- broken set-ups -->", "<!-- end of broken set-ups -->")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("README.md, broken set-ups: -want +got\n%s\nthe list as it should be:\n%s", d, want)
	}
}

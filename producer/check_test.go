package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"pstncalls/internal/config"
	"pstncalls/internal/graph"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
)

const (
	checkTenant = "11111111-2222-4333-8444-555555555555"
	checkSecret = "hunter2-very-secret"
)

// checkWorld is all that check looks at, in order: each test breaks one thing. Graph and authority are one https server.
type checkWorld struct {
	t       *testing.T
	sim     *graphfake.Server
	web     *httptest.Server
	broker  *kfake.Cluster
	reg     testRegistry
	setup   checkSetup
	environ map[string]string
	claims  map[string]any                                // of the tokens
	refuse  func(http.ResponseWriter, *http.Request) bool // true: it has answered
	asked   atomic.Int64                                  // requests to Graph
	skew    time.Duration                                 // of Graph's clock
}

func newCheckWorld(t *testing.T, opts ...kfake.Opt) *checkWorld {
	t.Helper()
	w := &checkWorld{t: t, claims: map[string]any{"roles": []string{graph.Role}, "tid": checkTenant, "idtyp": "app"}}
	w.sim = graphfake.New(graphfake.Config{Seed: 1, RequestsPerMinute: 2, PageSize: 3, Now: func() time.Time { return time.Now().Add(w.skew) },
		Tenants: []graphfake.TenantConfig{{ID: checkTenant, RowsPerDay: 5, Flat: true, From: time.Now().Add(-72 * time.Hour), To: time.Now()}}})
	w.web = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	w.web.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that are broken off
	w.web.StartTLS()
	t.Cleanup(w.web.Close)
	var err error
	if w.broker, err = kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.broker.Close)
	w.reg = newTestRegistry(t, confluent)
	transport := graph.NewTransport()
	transport.Proxy = nil
	transport.TLSClientConfig = w.web.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	t.Cleanup(transport.CloseIdleConnections)
	w.setup = checkSetup{transport: transport, registry: http.DefaultTransport, answer: checkAnswer}
	w.environ = map[string]string{"AZURE_TENANT_ID": checkTenant, "AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": checkSecret, "AZURE_AUTHORITY_HOST": w.web.URL,
		"GRAPH_ENDPOINT": w.web.URL, "KAFKA_BROKERS": w.broker.ListenAddrs()[0], "SCHEMA_REGISTRY_URL": w.reg.url}
	return w
}

// serve is the authority, which gives out tokens with the claims, and Graph, which takes them.
func (w *checkWorld) serve(out http.ResponseWriter, r *http.Request) {
	if w.refuse != nil && w.refuse(out, r) {
		return
	}
	if tenant, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/"), "/oauth2/v2.0/token"); ok {
		if r.FormValue("client_secret") != checkSecret {
			out.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(out, `{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided. Trace ID: x"}`)
			return
		}
		claims, _ := json.Marshal(w.claims)
		token := "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(claims) + "." + base64.RawURLEncoding.EncodeToString([]byte(tenant))
		out.Header().Set("Content-Type", "application/json")
		json.NewEncoder(out).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
		return
	}
	w.asked.Add(1)
	token := strings.Split(r.Header.Get("Authorization"), ".")
	tenant, _ := base64.RawURLEncoding.DecodeString(token[len(token)-1])
	r.Header.Set("Authorization", "Bearer "+string(tenant))
	w.sim.ServeHTTP(out, r)
}

// check runs the command and returns its findings; every output is searched for what must not be seen.
func (w *checkWorld) check(ctx context.Context) []finding {
	w.t.Helper()
	var environ []string
	for name, value := range w.environ {
		environ = append(environ, name+"="+value)
	}
	var text, object, stderr strings.Builder
	code := report(&stderr, "check", runCheck(ctx, env{environ: environ, stdout: &object, stderr: &stderr}, []string{"--json"}, w.setup))
	var got struct {
		Lines   []finding
		Verdict tally
	}
	if err := json.Unmarshal([]byte(object.String()), &got); err != nil {
		w.t.Fatalf("%v: %s %s", err, object.String(), stderr.String())
	}
	if err := printFindings(&text, got.Lines, got.Verdict); err != nil {
		w.t.Fatal(err)
	}
	for _, secret := range []string{checkSecret, "eyJ", "proxy-password", "sasl-password", "+1"} {
		if said := text.String() + object.String() + stderr.String(); strings.Contains(said, secret) {
			w.t.Errorf("it shows %q: %s", secret, said)
		}
	}
	for row := range w.sim.TruthSeq(checkTenant) {
		if strings.Contains(text.String(), row.ID) && row.ID != "" {
			w.t.Errorf("it shows a row's id")
		}
	}
	f := findings{lines: got.Lines}
	if wantCode := map[bool]int{true: exitFailed, false: exitDone}[f.tally().Failed > 0]; code != wantCode || got.Verdict != f.tally() {
		w.t.Errorf("exit %d, want %d; verdict %+v of %+v", code, wantCode, got.Verdict, f.tally())
	}
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Log("\n" + text.String())
		}
	})
	return got.Lines
}

// cluster is the topics' owner in the set-up of the environment, with changes.
func (w *checkWorld) cluster(change ...string) *kafka.Cluster {
	w.t.Helper()
	cfg, err := config.LoadKafka(append([]string{"KAFKA_BROKERS=" + w.broker.ListenAddrs()[0]}, change...))
	if err != nil {
		w.t.Fatal(err)
	}
	cluster, err := newCluster(cfg, quiet())
	if err != nil {
		w.t.Fatal(err)
	}
	return cluster
}

func (w *checkWorld) prepare(change ...string) {
	w.t.Helper()
	if _, err := w.cluster(change...).Prepare(w.t.Context(), false); err != nil {
		w.t.Fatal(err)
	}
}

// proxy is a proxy that answers CONNECT: with tunnel, by a tunnel, else with a refusal.
func (w *checkWorld) proxy(tunnel bool) {
	srv := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if !tunnel || r.Method != http.MethodConnect {
			out.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		far, err := net.Dial("tcp", r.Host)
		if err != nil {
			out.WriteHeader(http.StatusBadGateway)
			return
		}
		near, _, err := http.NewResponseController(out).Hijack()
		if err != nil {
			w.t.Error(err)
			return
		}
		fmt.Fprint(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			io.Copy(far, near)
			far.Close()
		}()
		go func() {
			io.Copy(near, far)
			near.Close()
		}()
	}))
	w.t.Cleanup(srv.Close)
	w.proxyAt(srv.Listener.Addr().String())
}

func (w *checkWorld) proxyAt(host string) {
	w.setup.transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: host, User: url.UserPassword("me", "proxy-password")})
}

// refuseGraph lets Graph answer with a status.
func (w *checkWorld) refuseGraph(status int) {
	w.sim.Script(graphfake.Fault{Kind: graphfake.Status, Status: status, Count: -1})
}

// Every broken set-up: which lines fail, what they say, and what to do. No other line fails.
func TestCheckBrokenSetups(t *testing.T) {
	for _, tc := range []struct {
		name  string
		brk   func(*checkWorld)
		fails []string          // the checks that fail
		says  map[string]string // of a check: a part of a line's sentence and what to do
	}{
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
		{"a state that was lost", func(w *checkWorld) {
			w.prepare()
			cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.ListenAddrs()...))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "pstn-calls", Value: []byte("an event")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}, []string{"state"}, map[string]string{"state": "everything would be published a second time"}},
	} {
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

// create creates a topic, with a client that has one option more.
func (w *checkWorld) create(opt kgo.Opt, topic, policy string) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.ListenAddrs()...), opt)
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	if resp, err := kadm.NewClient(cl).CreateTopic(w.t.Context(), 1, 1, map[string]*string{"cleanup.policy": &policy}, topic); err != nil || resp.Err != nil {
		w.t.Fatal(err, resp.Err)
	}
}

func (w *checkWorld) replaceBroker(opts ...kfake.Opt) {
	w.t.Helper()
	w.broker.Close()
	var err error
	if w.broker, err = kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.broker.Close)
	w.environ["KAFKA_BROKERS"] = w.broker.ListenAddrs()[0]
}

// users has the brokers ask for users, with topics that are there, and lets ours do all but write to some of them.
func (w *checkWorld) users(password string, readOnly ...string) {
	w.t.Helper()
	topics := []string{"pstn-calls", "pstn-calls.state", "pstn-calls.dlq", "pstn-calls.watermark"}
	acl := func(kind kmsg.ACLResourceType, name string, ops ...kmsg.ACLOperation) (out []kfake.ACL) {
		for _, op := range ops {
			out = append(out, kfake.ACL{Resource: kind, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true})
		}
		return out
	}
	transactions := kmsg.ACLOperationWrite
	if slices.Contains(readOnly, "transactions") {
		transactions = kmsg.ACLOperationDescribe
	}
	acls := slices.Concat(acl(kmsg.ACLResourceTypeGroup, "*", kmsg.ACLOperationRead), acl(kmsg.ACLResourceTypeTransactionalId, "pstn-calls-producer.", transactions), acl(kmsg.ACLResourceTypeCluster, "kafka-cluster", kmsg.ACLOperationDescribe))
	acls[1].Pattern = kmsg.ACLResourcePatternTypePrefixed // as operators grant it
	for _, topic := range topics {
		ops := []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationWrite}
		if slices.Contains(readOnly, topic) {
			ops = ops[:2]
		}
		acls = append(acls, acl(kmsg.ACLResourceTypeTopic, topic, ops...)...)
	}
	w.replaceBroker(kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "root"), kfake.User("PLAIN", "app", password, acls...))
	root := kgo.SASL(plain.Auth{User: "root", Pass: "root"}.AsMechanism())
	for i, topic := range topics {
		w.create(root, topic, []string{"delete", "compact"}[i%2])
	}
	maps.Copy(w.environ, map[string]string{"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "app", "KAFKA_SASL_PASSWORD": password})
}

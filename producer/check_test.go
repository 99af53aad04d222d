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

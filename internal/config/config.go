// Package config owns the environment: it is the only place that knows the names, defaults and legal values of the variables.
//
// The struct [Config] is the manual. A field's env tag holds the variable and its default, its usage tag the meaning; [Manual]
// prints nothing but these tags. Package env reads them; this package says what is legal.
//
// What always holds:
//   - A Config that was returned without an error is valid: whoever uses it checks nothing again.
//   - All mistakes are reported together, in an [Errors], and each says what would be right.
//   - No error, no warning and no printed Config holds a secret or the contents of a file.
package config

import (
	"log/slog"
	"net/url"
	"time"

	"pstncalls/internal/config/env"
)

// Secret is a value that is never printed.
type Secret = env.Secret

// Errors is every mistake in an environment, one a line: `VARIABLE: what is wrong; what would be right`.
type Errors = env.Errors

// Variable is one line of the manual.
type Variable = env.Variable

// Config is everything that can be configured. One that [Load] returned is valid.
type Config struct {
	Azure    Azure
	Graph    Graph
	Poll     Poll
	Kafka    Kafka
	Registry Registry
	Privacy  Privacy
	Admin    Admin
	Log      Log
}

// Azure is the Entra application that asks for tokens. At most one of ClientSecret, ClientCertificatePath and
// FederatedTokenFile is set, and then TenantID and ClientID are too; none of them means managed identity.
// The names are azidentity's own.
type Azure struct {
	TenantID              string   `env:"AZURE_TENANT_ID" usage:"tenant of the Entra application"`
	ClientID              string   `env:"AZURE_CLIENT_ID" usage:"client id of the Entra application, or of a user-assigned managed identity"`
	ClientSecret          Secret   `env:"AZURE_CLIENT_SECRET" usage:"credential: client secret; without any credential the managed identity is used"`
	ClientCertificatePath string   `env:"AZURE_CLIENT_CERTIFICATE_PATH" usage:"credential: file with certificate and private key"`
	FederatedTokenFile    string   `env:"AZURE_FEDERATED_TOKEN_FILE" usage:"credential: token file of workload identity"`
	AuthorityHost         *url.URL `env:"AZURE_AUTHORITY_HOST, noinit" usage:"root URL of the token authority; by default that of GRAPH_CLOUD"`
}

// Graph is what is asked, of whom, and how often. Endpoint and Azure.AuthorityHost are nil where Cloud decides; where set, they
// have no path. Tenants holds the tenants of TenantsFile where that is set; [ReadTenants] reads it again.
type Graph struct {
	Auth              string   `env:"GRAPH_AUTH, default=azure" usage:"azure; or none, for a simulator only: the tenant's id takes the token's place"`
	Tenants           []string `env:"GRAPH_TENANTS, default=$AZURE_TENANT_ID" usage:"tenants to poll, comma-separated"`
	TenantsFile       string   `env:"GRAPH_TENANTS_FILE" usage:"file of tenants to poll, one a line, instead of GRAPH_TENANTS; read again when it changes"`
	Cloud             string   `env:"GRAPH_CLOUD, default=global" usage:"global, usgov or usgovdod"`
	Endpoint          *url.URL `env:"GRAPH_ENDPOINT, noinit" usage:"root URL of Graph, such as http://127.0.0.1:8900; by default that of GRAPH_CLOUD"`
	APIVersion        string   `env:"GRAPH_API_VERSION, default=beta" usage:"beta (29 properties) or v1.0 (23 properties, no IP addresses; the version that Microsoft supports in production)"`
	RequestsPerMinute int      `env:"GRAPH_REQUESTS_PER_MINUTE, default=45" usage:"requests a minute and tenant; Graph allows 50"`
	Concurrency       int      `env:"GRAPH_CONCURRENCY, default=4" usage:"scans of closed days at once per tenant, 1 to 32; that of the open window comes on top"`
}

// Poll is which windows are read, and when.
type Poll struct {
	Start      PollStart     `env:"POLL_START, default=720h" usage:"how far back a new tenant starts: a duration up to 8784h, or a time such as 2026-11-01 (older than 366 days: as 366 days); cut down to UTC midnight"`
	Interval   time.Duration `env:"POLL_INTERVAL, default=5m" usage:"between scans of the open window, 1s to 24h"`
	Lookback   time.Duration `env:"POLL_LOOKBACK, default=168h" usage:"how long after its end a window is scanned again for late and corrected rows, 1s to 2136h"`
	FreshStart bool          `env:"POLL_FRESH_START, default=false" usage:"start although the state topic is empty and the events topic is not"`
}

// Kafka is the cluster, the group of the replicas and the topics.
type Kafka struct {
	Brokers         []string `env:"KAFKA_BROKERS" usage:"brokers to start from, host:port, comma-separated; required"`
	TLS             TLS
	SASL            SASL
	Group           string        `env:"KAFKA_GROUP, default=pstn-calls-producer" usage:"consumer group of the replicas and prefix of the transactional ids"`
	GroupAdopt      string        `env:"KAFKA_GROUP_ADOPT" usage:"group to take the state topic over from; comes with a later version, refused until then"`
	GroupProtocol   string        `env:"KAFKA_GROUP_PROTOCOL, default=classic" usage:"classic or consumer"`
	GroupInstanceID string        `env:"KAFKA_GROUP_INSTANCE_ID" usage:"static membership: a name of this replica that outlives it"`
	SessionTimeout  time.Duration `env:"KAFKA_SESSION_TIMEOUT, default=6s" usage:"silence after which a replica counts as dead, 6s to 5m; a broker setting with KAFKA_GROUP_PROTOCOL=consumer"`
	EventsTopic     string        `env:"KAFKA_EVENTS_TOPIC, default=pstn-calls" usage:"topic of the events"`
	StateTopic      string        `env:"KAFKA_STATE_TOPIC, default=pstn-calls.state" usage:"topic of the window offsets and ledgers"`
	DLQTopic        string        `env:"KAFKA_DLQ_TOPIC, default=pstn-calls.dlq" usage:"dead-letter topic: rows that could not become events"`
	WatermarkTopic  string        `env:"KAFKA_WATERMARK_TOPIC, default=pstn-calls.watermark" usage:"topic that says up to when each tenant is complete"`
	Compression     string        `env:"KAFKA_COMPRESSION, default=lz4" usage:"none, snappy, lz4, zstd or gzip"`
}

// TLS is how the connection to the brokers is encrypted. CertFile and KeyFile are both set or neither.
type TLS struct {
	Enabled  bool   `env:"KAFKA_TLS, default=false" usage:"encrypt the connection to the brokers"`
	CAFile   string `env:"KAFKA_TLS_CA_FILE" usage:"PEM file of the authorities that vouch for the brokers; by default the system's"`
	CertFile string `env:"KAFKA_TLS_CERT_FILE" usage:"PEM file of the client certificate"`
	KeyFile  string `env:"KAFKA_TLS_KEY_FILE" usage:"PEM file of the client certificate's private key"`
}

// SASL is how the program shows the brokers who it is: not at all where Mechanism is empty.
type SASL struct {
	Mechanism string `env:"KAFKA_SASL_MECHANISM" usage:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; OAUTHBEARER and AWS_MSK_IAM come with a later version"`
	Username  string `env:"KAFKA_SASL_USERNAME" usage:"user name at the brokers"`
	Password  Secret `env:"KAFKA_SASL_PASSWORD" usage:"password at the brokers"`
}

// Registry is the schema registry; there is none where URL is nil. URL may have a path, without a slash at its end.
type Registry struct {
	URL      *url.URL `env:"SCHEMA_REGISTRY_URL, noinit" usage:"URL of the schema registry; without one, events are in Avro's single-object encoding"`
	Username string   `env:"SCHEMA_REGISTRY_USERNAME" usage:"user name at the registry"`
	Password Secret   `env:"SCHEMA_REGISTRY_PASSWORD" usage:"password at the registry"`
}

// Privacy is what is removed from every row before anything else sees it.
type Privacy struct {
	Fields  string `env:"PRIVACY_FIELDS" usage:"property=mask, hash or drop, comma-separated, such as callerNumber=mask,userPrincipalName=hash"`
	HashKey Secret `env:"PRIVACY_HASH_KEY" usage:"key of the hash rules (HMAC), 16 bytes or more"`
}

// Admin is where metrics and health are served.
type Admin struct {
	Addr string `env:"ADMIN_ADDR, default=127.0.0.1:8080" usage:"host:port of metrics, health and a page with links to them; port 0 takes a free one"`
}

// Log is what is logged, and how.
type Log struct {
	Level  slog.Level `env:"LOG_LEVEL, default=info" usage:"debug, info, warn or error"`
	Format string     `env:"LOG_FORMAT, default=text" usage:"text or json"`
}

// Warnings returns, one sentence each, what is legal and yet probably not wanted.
func (c *Config) Warnings() []string {
	var ws []string
	if c.Kafka.SASL.Mechanism == "PLAIN" && !c.Kafka.TLS.Enabled {
		ws = append(ws, "KAFKA_SASL_MECHANISM=PLAIN without KAFKA_TLS=true sends the password in clear text")
	}
	if r := c.Registry; r.URL != nil && r.Username != "" && r.URL.Scheme == "http" && !loopback(r.URL) {
		ws = append(ws, "SCHEMA_REGISTRY_URL is plain http: the registry's password is sent in clear text")
	}
	if l := c.Poll.Lookback; l > 0 && l < 24*time.Hour {
		ws = append(ws, "POLL_LOOKBACK is under 24h: rows are known to arrive later than that, and are then not published")
	}
	if c.Graph.Auth == "azure" && c.Graph.RequestsPerMinute > 45 {
		ws = append(ws, "GRAPH_REQUESTS_PER_MINUTE is over 45: with the 3 requests of a fail-over that is next to Graph's 50, or beyond")
	}
	return ws
}

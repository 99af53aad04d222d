package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Topics are the names of the four topics (design section 6).
type Topics struct {
	Events, State, DLQ, Watermark string
}

// SASL are the credentials for the brokers. Mechanism is empty (none), PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
type SASL struct {
	Mechanism, Username, Password string
}

// Config says which cluster is meant and how the program appears on it.
type Config struct {
	Brokers []string
	TLS     *tls.Config // nil: plaintext
	SASL    SASL
	Dialer  func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer

	Topics      Topics
	Compression string // none, snappy, lz4, zstd, gzip

	// Group is the consumer group of the replicas, the prefix of the transactional ids, and the owner of the state.
	Group          string
	GroupProtocol  string // classic, consumer
	InstanceID     string // static membership; empty: none
	SessionTimeout time.Duration

	// Host and Instance name this process in claims: the machine, and an id that no other process has.
	Host, Instance string

	Log      *slog.Logger
	Observer Observer // nil: none
}

// Cluster is the entrance to one Kafka cluster. It holds no connection of its own.
type Cluster struct {
	cfg    Config
	limits limits
}

// New returns a Cluster, or an error that names what is wrong with the configuration. It connects to nothing.
func New(cfg Config) (*Cluster, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Observer == nil {
		cfg.Observer = noObserver{}
	}
	c := &Cluster{cfg: cfg, limits: limits{transaction: transactionTimeout, delivery: deliveryTimeout, commit: commitDeadline}}
	if _, err := c.saslMechanism(); err != nil {
		return nil, err
	}
	if _, err := codec(cfg.Compression); err != nil {
		return nil, err
	}
	return c, nil
}

// Topics returns the names of the topics.
func (c *Cluster) Topics() Topics { return c.cfg.Topics }

// Group returns the group the cluster was configured with.
func (c *Cluster) Group() string { return c.cfg.Group }

// Instance returns the id of this process, as it stands in its claims.
func (c *Cluster) Instance() string { return c.cfg.Instance }

func (c *Cluster) saslMechanism() (sasl.Mechanism, error) {
	s := c.cfg.SASL
	switch s.Mechanism {
	case "":
		return nil, nil
	case "PLAIN":
		return plain.Auth{User: s.Username, Pass: s.Password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.Username, Pass: s.Password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.Username, Pass: s.Password}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("SASL mechanism %q is not known: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
}

func codec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "", "lz4":
		return kgo.Lz4Compression(), nil
	case "none":
		return kgo.NoCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("compression %q is not known: want none, snappy, lz4, zstd or gzip", name)
}

// client returns a client with the options that every client of this program shares.
func (c *Cluster) client(more ...kgo.Opt) (*kgo.Client, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.cfg.Brokers...),
		kgo.ClientID("pstn-calls-producer"),
		// A broker's CONCURRENT_TRANSACTIONS or a moved leader is retried only after a metadata refresh: at the default of
		// 5 s a retry would eat most of the transaction timeout.
		kgo.MetadataMinAge(250 * time.Millisecond),
		// A poll may be minutes apart; at the default of 30 s each one would reconnect.
		kgo.ConnIdleTimeout(10 * time.Minute),
		kgo.WithLogger(kgoLogger{c.cfg.Log}),
	}
	if c.cfg.TLS != nil && c.cfg.Dialer == nil {
		opts = append(opts, kgo.DialTLSConfig(c.cfg.TLS))
	}
	if c.cfg.Dialer != nil {
		opts = append(opts, kgo.Dialer(c.cfg.Dialer))
	}
	m, err := c.saslMechanism()
	if err != nil {
		return nil, err
	}
	if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	cl, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	return cl, nil
}

// withAdmin runs fn with a client that lives as long as fn.
func (c *Cluster) withAdmin(fn func(*kadm.Client) error) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	return fn(kadm.NewClient(cl))
}

// kgoLogger hands the client's own log lines on, one level down: what it calls info is detail here.
type kgoLogger struct{ log *slog.Logger }

func (l kgoLogger) Level() kgo.LogLevel {
	ctx := context.Background()
	switch {
	case l.log.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	default:
		return kgo.LogLevelNone
	}
}

func (l kgoLogger) Log(_ kgo.LogLevel, msg string, keyvals ...any) {
	l.log.Debug("kafka client: "+msg, keyvals...)
}

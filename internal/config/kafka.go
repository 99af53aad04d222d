package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"pstncalls/internal/config/env"
)

func (c *check) checkKafka(k *Kafka) {
	c.checkBrokers(k.Brokers)
	if k.TLS.Enabled {
		_, err := k.TLS.Config()
		if wrong, ok := errors.AsType[*Errors](err); ok {
			for _, m := range wrong.Mistakes {
				c.Add(m.Variable, m.Wrong, m.Right)
			}
		}
	} else if c.Sound("KAFKA_TLS") {
		for _, name := range []string{"KAFKA_TLS_CA_FILE", "KAFKA_TLS_CERT_FILE", "KAFKA_TLS_KEY_FILE"} {
			if c.Set(name) {
				c.Add(name, "set although KAFKA_TLS is not true", "set KAFKA_TLS=true, or leave it out")
			}
		}
	}
	c.checkSASL(&k.SASL)
	c.checkGroup(k)
	c.checkTopics(k)
	c.oneOf("KAFKA_COMPRESSION", k.Compression, "none", "snappy", "lz4", "zstd", "gzip")
}

func (c *check) checkBrokers(brokers []string) {
	const right = "want host:port, comma-separated, such as broker-1:9092,broker-2:9092"
	if len(brokers) == 0 {
		c.Add("KAFKA_BROKERS", "not set", right)
	}
	for i, b := range brokers {
		if wrong := hostPort(b); wrong != "" {
			c.Add("KAFKA_BROKERS", fmt.Sprintf("%s, at place %d, %s", c.Show(b), i+1, wrong), right)
		}
	}
}

// checkSASL reports each missing part by itself. The mechanisms that are still to come are refused, not ignored.
func (c *check) checkSASL(s *SASL) {
	username, password := s.Username != "", c.Given("KAFKA_SASL_PASSWORD")
	switch s.Mechanism {
	case "":
		if username || password {
			c.Add("KAFKA_SASL_MECHANISM", "not set although a user name or password is", "want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
		}
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		if !username {
			c.Add("KAFKA_SASL_USERNAME", "not set although KAFKA_SASL_MECHANISM is", "want the user name at the brokers")
		}
		if !password {
			c.Add("KAFKA_SASL_PASSWORD", "not set although KAFKA_SASL_MECHANISM is", "want the password at the brokers, or KAFKA_SASL_PASSWORD_FILE")
		}
	case "OAUTHBEARER", "AWS_MSK_IAM":
		c.Add("KAFKA_SASL_MECHANISM", s.Mechanism+" comes with a later version", "want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	default:
		c.oneOf("KAFKA_SASL_MECHANISM", s.Mechanism, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
	}
}

func (c *check) checkGroup(k *Kafka) {
	c.legal("KAFKA_GROUP", k.Group)
	if k.GroupInstanceID != "" {
		c.legal("KAFKA_GROUP_INSTANCE_ID", k.GroupInstanceID)
	}
	if k.GroupAdopt != "" {
		c.Add("KAFKA_GROUP_ADOPT", "taking over another group's state comes with a later version", "leave it out and keep the old KAFKA_GROUP")
	}
	c.oneOf("KAFKA_GROUP_PROTOCOL", k.GroupProtocol, "classic", "consumer")
	if k.GroupProtocol == "consumer" && c.Set("KAFKA_SESSION_TIMEOUT") {
		c.Add("KAFKA_SESSION_TIMEOUT", "a setting of the brokers with KAFKA_GROUP_PROTOCOL=consumer",
			"leave it out and set group.consumer.session.timeout.ms at the brokers")
		return
	}
	within(c, "KAFKA_SESSION_TIMEOUT", 6*time.Second, k.SessionTimeout, 5*time.Minute, "6s (the least that brokers accept by default) to 5m")
}

func (c *check) checkTopics(k *Kafka) {
	taken := map[string]string{}
	for _, t := range []struct{ name, topic string }{
		{"KAFKA_EVENTS_TOPIC", k.EventsTopic},
		{"KAFKA_STATE_TOPIC", k.StateTopic},
		{"KAFKA_DLQ_TOPIC", k.DLQTopic},
		{"KAFKA_WATERMARK_TOPIC", k.WatermarkTopic},
	} {
		c.legal(t.name, t.topic)
		if other, ok := taken[t.topic]; ok {
			c.Add(t.name, "the same topic as "+other, "want four different topics")
			continue
		}
		taken[t.topic] = t.name
	}
}

// legal checks a name by Kafka's rule.
func (c *check) legal(name, v string) {
	if !legalName(v, 249) {
		c.Add(name, c.Show(v)+" is no legal name in Kafka", "want 1 to 249 letters, digits, dots, hyphens and underscores")
	}
}

// Config returns how to reach the brokers, nil where TLS is not enabled. It reads the files; an error is an *[Errors].
func (t TLS) Config() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	var wrong Errors
	read := func(name, path string) []byte {
		text, err := env.ReadFile(path)
		if err != nil {
			wrong.Add(name, err.Error(), "want the path of a PEM file")
		}
		return text
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		conf.RootCAs = x509.NewCertPool()
		if text := read("KAFKA_TLS_CA_FILE", t.CAFile); text != nil && !conf.RootCAs.AppendCertsFromPEM(text) {
			wrong.Add("KAFKA_TLS_CA_FILE", "the file holds no certificate", "want certificates in PEM form")
		}
	}
	switch {
	case t.CertFile != "" && t.KeyFile != "":
		cert, key := read("KAFKA_TLS_CERT_FILE", t.CertFile), read("KAFKA_TLS_KEY_FILE", t.KeyFile)
		if cert == nil || key == nil {
			break
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			wrong.Add("KAFKA_TLS_CERT_FILE", "not usable with KAFKA_TLS_KEY_FILE: "+err.Error(),
				"want a certificate and its unencrypted private key, both in PEM form")
		}
		conf.Certificates = []tls.Certificate{pair}
	case t.CertFile != "":
		wrong.Add("KAFKA_TLS_KEY_FILE", "not set although KAFKA_TLS_CERT_FILE is", "set both or neither")
	case t.KeyFile != "":
		wrong.Add("KAFKA_TLS_CERT_FILE", "not set although KAFKA_TLS_KEY_FILE is", "set both or neither")
	}
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	return conf, nil
}

package config

import (
	"time"

	"pstncalls/internal/config/env"
)

// Load reads the whole configuration from environ, which has the form of os.Environ(). A non-nil error is an *[Errors] with
// every mistake.
func Load(environ []string) (*Config, error) {
	c, cfg := newCheck(environ), new(Config)
	c.Decode(cfg)
	c.checkGraph(cfg)
	c.checkPoll(&cfg.Poll)
	c.checkKafka(&cfg.Kafka)
	c.checkRegistry(&cfg.Registry)
	c.checkPrivacy(&cfg.Privacy)
	c.checkAdmin(&cfg.Admin)
	c.checkLog(&cfg.Log)
	return c.result(cfg)
}

// LoadKafka reads what the commands need that ask nothing of Graph: the KAFKA_…, SCHEMA_REGISTRY_… and LOG_… variables. The rest
// of the Config is zero, and no mistake there counts, but a misspelt variable does. A non-nil error is an *[Errors].
func LoadKafka(environ []string) (*Config, error) {
	c, cfg := newCheck(environ), new(Config)
	c.Decode(&cfg.Kafka)
	c.Decode(&cfg.Registry)
	c.Decode(&cfg.Log)
	c.checkKafka(&cfg.Kafka)
	c.checkRegistry(&cfg.Registry)
	c.checkLog(&cfg.Log)
	return c.result(cfg)
}

// Manual returns every variable, in the order of [Config]'s fields.
func Manual() []Variable { return env.Variables(new(Config)) }

// check is one reading of an environment, judged at one instant.
type check struct {
	*env.Reading
	now time.Time
}

func newCheck(environ []string) *check {
	return &check{Reading: env.New(environ, new(Config)), now: time.Now()}
}

func (c *check) result(cfg *Config) (*Config, error) {
	c.CheckSpelling()
	if err := c.Err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

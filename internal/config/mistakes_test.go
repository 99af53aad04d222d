package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newCertificate returns the paths of a self-signed certificate and of its key.
func newCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return tempFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		tempFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

// In the environments below, variables are separated by blanks; {…} stands for a file.
func TestMistakes(t *testing.T) {
	cert, key := newCertificate(t)
	_, otherKey := newCertificate(t)
	files := strings.NewReplacer("{cert}", cert, "{key}", key, "{other}", otherKey, "{empty}", tempFile(t, ""), "{newline}", tempFile(t, "\n"),
		"{dir}", t.TempDir(), "{missing}", filepath.Join(t.TempDir(), "missing"), "{text}", tempFile(t, "just text"), "{key16}", tempFile(t, "0123456789abcdef\n"),
		"{huge}", tempFile(t, strings.Repeat("#", 1<<20+1)), "{two}", tempFile(t, "a\nb\n"), "{bad}", tempFile(t, "# ids\na\n\nA\nno good\n../x\n"))
	const none = "GRAPH_AUTH=none GRAPH_ENDPOINT=http://simulator:8900 "
	const azure = "AZURE_CLIENT_ID=app AZURE_CLIENT_SECRET=s "
	for _, c := range []struct {
		environ string
		want    string // mistakes: VARIABLE: part of the text, separated by |; "" for none
	}{
		// Azure.
		{"AZURE_CLIENT_SECRET=s", "AZURE_CLIENT_ID: not set although AZURE_CLIENT_SECRET is"},
		{"AZURE_TENANT_ID= GRAPH_TENANTS=a " + azure, "AZURE_TENANT_ID: not set although AZURE_CLIENT_SECRET is"},
		{"AZURE_TENANT_ID= GRAPH_TENANTS=a " + none + azure, ""},
		{"AZURE_TENANT_ID= GRAPH_TENANTS=a", ""}, // managed identity
		{"AZURE_TENANT_ID=", "GRAPH_TENANTS: no tenant to poll"},
		{"AZURE_TENANT_ID=a/b", `AZURE_TENANT_ID: "a/b" is not the id of a tenant`},
		{"AZURE_TENANT_ID=a,b " + none, `AZURE_TENANT_ID: "a,b" is not the id of a tenant`},
		{azure + "AZURE_CLIENT_CERTIFICATE_PATH={cert}", "AZURE_CLIENT_CERTIFICATE_PATH: AZURE_CLIENT_SECRET is set too; want one credential"},
		{azure + "AZURE_FEDERATED_TOKEN_FILE={text}", "AZURE_FEDERATED_TOKEN_FILE: AZURE_CLIENT_SECRET is set too"},
		{"AZURE_CLIENT_ID=app AZURE_CLIENT_CERTIFICATE_PATH={cert} AZURE_FEDERATED_TOKEN_FILE={text}",
			"AZURE_FEDERATED_TOKEN_FILE: AZURE_CLIENT_CERTIFICATE_PATH is set too"},
		{"AZURE_CLIENT_ID=app AZURE_CLIENT_CERTIFICATE_PATH={missing}", "AZURE_CLIENT_CERTIFICATE_PATH: the file cannot be read: no such file"},
		{"AZURE_CLIENT_ID=app AZURE_FEDERATED_TOKEN_FILE={empty}", "AZURE_FEDERATED_TOKEN_FILE: the file is empty"},
		{"AZURE_FEDERATED_TOKEN_FILE={text}", "AZURE_CLIENT_ID: not set although AZURE_FEDERATED_TOKEN_FILE is"},
		{azure + "AZURE_AUTHORITY_HOST=http://login.example", "AZURE_AUTHORITY_HOST: plain http to another machine would show tokens; want https"},
		{azure + "AZURE_AUTHORITY_HOST=http://[::1]:8900", ""},
		{azure + "AZURE_AUTHORITY_HOST=login.microsoftonline.com", "AZURE_AUTHORITY_HOST: not an absolute http or https URL"},

		// Secrets in files.
		{"AZURE_CLIENT_ID=app AZURE_CLIENT_SECRET_FILE={missing}",
			"AZURE_CLIENT_SECRET_FILE: the file cannot be read: no such file or directory; want the path of a file that holds the value of AZURE_CLIENT_SECRET"},
		{"AZURE_CLIENT_ID=app AZURE_CLIENT_SECRET_FILE={dir}", "AZURE_CLIENT_SECRET_FILE: not a regular file"},
		{"AZURE_CLIENT_ID=app AZURE_CLIENT_SECRET_FILE={newline}", "AZURE_CLIENT_SECRET_FILE: the file is empty"},
		{"AZURE_CLIENT_ID=app AZURE_CLIENT_SECRET_FILE={huge}", "AZURE_CLIENT_SECRET_FILE: the file is larger than"},
		{azure + "AZURE_CLIENT_SECRET_FILE={text}", "AZURE_CLIENT_SECRET_FILE: AZURE_CLIENT_SECRET is set too; set one of them"},
		{"KAFKA_SASL_MECHANISM=PLAIN KAFKA_SASL_USERNAME=u KAFKA_SASL_PASSWORD_FILE={missing}", "KAFKA_SASL_PASSWORD_FILE: the file cannot be read"},
		{"SCHEMA_REGISTRY_URL=http://r SCHEMA_REGISTRY_USERNAME=u SCHEMA_REGISTRY_PASSWORD_FILE={dir}", "SCHEMA_REGISTRY_PASSWORD_FILE: not a regular file"},
		{"PRIVACY_FIELDS=callId=hash PRIVACY_HASH_KEY_FILE={missing}", "PRIVACY_HASH_KEY_FILE: the file cannot be read"},
		{"PRIVACY_FIELDS=callId=hash PRIVACY_HASH_KEY_FILE={key16}", ""},

		// Graph.
		{"GRAPH_AUTH=entra", `GRAPH_AUTH: "entra" is unknown; want azure or none`},
		{"GRAPH_AUTH=none", "GRAPH_ENDPOINT: not set although GRAPH_AUTH is none"},
		{none, ""},
		{"GRAPH_TENANTS=a " + none, ""},
		{"GRAPH_TENANTS=a,b " + azure, ""},
		{"GRAPH_TENANTS=a,contoso.example " + azure, ""},
		{"GRAPH_TENANTS=a,b", "GRAPH_TENANTS: a managed identity reads one tenant only"},
		{"GRAPH_TENANTS=a,,b " + azure, `GRAPH_TENANTS: "", at place 2, is not the id of a tenant`},
		{"GRAPH_TENANTS=a,b,A " + azure, `GRAPH_TENANTS: "A", at place 3, names a tenant a second time`},
		{"GRAPH_TENANTS=.. " + azure, `GRAPH_TENANTS: "..", at place 1, is not the id`},
		{"GRAPH_TENANTS=a_b " + azure, `GRAPH_TENANTS: "a_b", at place 1, is not the id of a tenant; want the id of a tenant: up to 64 letters`},
		{"GRAPH_TENANTS=claim " + azure, `GRAPH_TENANTS: "claim", at place 1, is a name that the state topic uses itself`},
		{"GRAPH_TENANTS=" + strings.Repeat("a", 64) + " " + azure, ""},
		{"GRAPH_TENANTS=" + strings.Repeat("a", 65) + " " + azure, `GRAPH_TENANTS: "` + strings.Repeat("a", 60) + `"…, at place 1, is not the id`},
		{"GRAPH_TENANTS=a GRAPH_TENANTS_FILE={two} " + azure, "GRAPH_TENANTS_FILE: GRAPH_TENANTS is set too"},
		{"GRAPH_TENANTS_FILE={two} " + azure, ""},
		{"GRAPH_TENANTS_FILE={two}", "GRAPH_TENANTS: a managed identity reads one tenant only"},
		{"GRAPH_TENANTS_FILE={empty} " + azure, "GRAPH_TENANTS_FILE: the file names no tenant"},
		{"GRAPH_TENANTS_FILE={missing} " + azure, "GRAPH_TENANTS_FILE: the file cannot be read"},
		{"GRAPH_TENANTS_FILE={bad} " + azure, "GRAPH_TENANTS_FILE: line 4 names a tenant a second time|" +
			"GRAPH_TENANTS_FILE: line 5 is not the id of a tenant|GRAPH_TENANTS_FILE: line 6 is not the id of a tenant"},
		{"GRAPH_CLOUD=china", "GRAPH_CLOUD: the cloud in China has no PSTN call log"},
		{"GRAPH_CLOUD=AzureChinaCloud", "GRAPH_CLOUD: the cloud in China has no PSTN call log"},
		{"GRAPH_CLOUD=germany", `GRAPH_CLOUD: "germany" is unknown; want global, usgov or usgovdod`},
		{"GRAPH_ENDPOINT=https://microsoftgraph.chinacloudapi.cn", "GRAPH_ENDPOINT: the cloud in China has no PSTN call log"},
		{"GRAPH_ENDPOINT=https://graph.microsoft.com/v1.0", "GRAPH_ENDPOINT: holds a path"},
		{"GRAPH_ENDPOINT=https://graph.microsoft.com?x=1", "GRAPH_ENDPOINT: holds a query"},
		{"GRAPH_ENDPOINT=https://graph.microsoft.com?", "GRAPH_ENDPOINT: holds a query"},
		{"GRAPH_ENDPOINT=https://u:p@graph.microsoft.com", "GRAPH_ENDPOINT: holds a user name or password"},
		{"GRAPH_ENDPOINT=https://graph.microsoft.com:0", "GRAPH_ENDPOINT: the port is not one of 1 to 65535"},
		{"GRAPH_ENDPOINT=https://graph.microsoft.com:65536", "GRAPH_ENDPOINT: the port is not one of 1 to 65535"},
		{"GRAPH_ENDPOINT=https://graph.microsoft.com:", "GRAPH_ENDPOINT: the port is not one of 1 to 65535"},
		{"GRAPH_ENDPOINT=https://:443", "GRAPH_ENDPOINT: not an absolute http or https URL"},
		{"GRAPH_ENDPOINT=ftp://graph.microsoft.com", "GRAPH_ENDPOINT: not an absolute http or https URL"},
		{"GRAPH_ENDPOINT=http://%zz", "GRAPH_ENDPOINT: not a URL"},
		{"GRAPH_ENDPOINT=http://graph.example", "GRAPH_ENDPOINT: plain http to another machine would show tokens"},
		{"GRAPH_ENDPOINT=http://localhost:8900", ""},
		{"GRAPH_ENDPOINT=http://127.9.9.9:8900", ""},
		{"GRAPH_ENDPOINT=http://localhost.example:8900", "GRAPH_ENDPOINT: plain http to another machine would show tokens"},
		{"GRAPH_API_VERSION=v2.0", `GRAPH_API_VERSION: "v2.0" is unknown; want beta or v1.0`},
		{"GRAPH_REQUESTS_PER_MINUTE=0", `GRAPH_REQUESTS_PER_MINUTE: "0" is out of range; want 1 to 50`},
		{"GRAPH_REQUESTS_PER_MINUTE=51", `GRAPH_REQUESTS_PER_MINUTE: "51" is out of range`},
		{"GRAPH_REQUESTS_PER_MINUTE=51 " + none, ""},
		{"GRAPH_REQUESTS_PER_MINUTE=0 " + none, `GRAPH_REQUESTS_PER_MINUTE: "0" is out of range`},
		{"GRAPH_REQUESTS_PER_MINUTE=045", `GRAPH_REQUESTS_PER_MINUTE: "045" is not understood; want a whole number such as 45`},
		{"GRAPH_REQUESTS_PER_MINUTE=many", `GRAPH_REQUESTS_PER_MINUTE: "many" is not understood`},
		{"GRAPH_CONCURRENCY=33", `GRAPH_CONCURRENCY: "33" is out of range; want 1 to 32`},
		{"GRAPH_CONCURRENCY=0", `GRAPH_CONCURRENCY: "0" is out of range`},

		// Poll.
		{"POLL_INTERVAL=999ms", `POLL_INTERVAL: "999ms" is out of range; want 1s to 24h`},
		{"POLL_INTERVAL=25h", `POLL_INTERVAL: "25h" is out of range`},
		{"POLL_INTERVAL=-5m", `POLL_INTERVAL: "-5m" is out of range`},
		{"POLL_INTERVAL=300", `POLL_INTERVAL: "300" is not understood; want a duration such as 5m`},
		{"POLL_LOOKBACK=2137h", `POLL_LOOKBACK: "2137h" is out of range; want 1s to 2136h`},
		{"POLL_LOOKBACK=0s", `POLL_LOOKBACK: "0s" is out of range`},
		{"POLL_FRESH_START=yes", `POLL_FRESH_START: "yes" is not understood; want true or false`},

		// Kafka.
		{"KAFKA_BROKERS=", "KAFKA_BROKERS: not set; want host:port"},
		{"KAFKA_BROKERS=a:1,,b:2", `KAFKA_BROKERS: "", at place 2, is not host:port`},
		{"KAFKA_BROKERS=a:0,b:65536,c:x,d:", `KAFKA_BROKERS: "a:0", at place 1, has no port|KAFKA_BROKERS: "b:65536", at place 2, has no port|` +
			`KAFKA_BROKERS: "c:x", at place 3, has no port|KAFKA_BROKERS: "d:", at place 4, has no port`},
		{"KAFKA_BROKERS=:9092", `KAFKA_BROKERS: ":9092", at place 1, has no legal host`},
		{"KAFKA_BROKERS=a\tb:9092", `KAFKA_BROKERS: "a\tb:9092", at place 1, has no legal host`},
		{"KAFKA_BROKERS=SASL_SSL://a:9092", `KAFKA_BROKERS: "SASL_SSL://a:9092", at place 1, is not host:port`},
		{"KAFKA_BROKERS=user:pass@a:9092", `KAFKA_BROKERS: the value (not shown), at place 1, is not host:port`},
		{"KAFKA_TLS=maybe KAFKA_TLS_CA_FILE={cert}", `KAFKA_TLS: "maybe" is not understood; want true or false`},
		{"KAFKA_TLS_CA_FILE={cert}", "KAFKA_TLS_CA_FILE: set although KAFKA_TLS is not true"},
		{"KAFKA_TLS=false KAFKA_TLS_CERT_FILE={cert} KAFKA_TLS_KEY_FILE={key}",
			"KAFKA_TLS_CERT_FILE: set although KAFKA_TLS is not true|KAFKA_TLS_KEY_FILE: set although KAFKA_TLS is not true"},
		{"KAFKA_TLS=true KAFKA_TLS_CA_FILE={text}", "KAFKA_TLS_CA_FILE: the file holds no certificate"},
		{"KAFKA_TLS=true KAFKA_TLS_CA_FILE={empty}", "KAFKA_TLS_CA_FILE: the file holds no certificate"},
		{"KAFKA_TLS=true KAFKA_TLS_CA_FILE={missing}", "KAFKA_TLS_CA_FILE: the file cannot be read"},
		{"KAFKA_TLS=true KAFKA_TLS_CERT_FILE={cert}", "KAFKA_TLS_KEY_FILE: not set although KAFKA_TLS_CERT_FILE is"},
		{"KAFKA_TLS=true KAFKA_TLS_KEY_FILE={key}", "KAFKA_TLS_CERT_FILE: not set although KAFKA_TLS_KEY_FILE is"},
		{"KAFKA_TLS=true KAFKA_TLS_CERT_FILE={cert} KAFKA_TLS_KEY_FILE={other}", "KAFKA_TLS_CERT_FILE: not usable with KAFKA_TLS_KEY_FILE"},
		{"KAFKA_TLS=true KAFKA_TLS_CERT_FILE={missing} KAFKA_TLS_KEY_FILE={dir}",
			"KAFKA_TLS_CERT_FILE: the file cannot be read|KAFKA_TLS_KEY_FILE: not a regular file"},
		{"KAFKA_SASL_USERNAME=u", "KAFKA_SASL_MECHANISM: not set although a user name or password is"},
		{"KAFKA_SASL_PASSWORD=p", "KAFKA_SASL_MECHANISM: not set although a user name or password is"},
		{"KAFKA_SASL_MECHANISM=SCRAM-SHA-256 KAFKA_SASL_USERNAME=u", "KAFKA_SASL_PASSWORD: not set although KAFKA_SASL_MECHANISM is"},
		// There is no such variable: only secrets may come from a file.
		{"KAFKA_SASL_MECHANISM=SCRAM-SHA-512 KAFKA_SASL_USERNAME_FILE={text} KAFKA_SASL_PASSWORD=p", "KAFKA_SASL_USERNAME: not set although KAFKA_SASL_MECHANISM is"},
		{"KAFKA_SASL_MECHANISM=OAUTHBEARER", "KAFKA_SASL_MECHANISM: OAUTHBEARER comes with a later version"},
		{"KAFKA_SASL_MECHANISM=AWS_MSK_IAM", "KAFKA_SASL_MECHANISM: AWS_MSK_IAM comes with a later version"},
		{"KAFKA_SASL_MECHANISM=plain", `KAFKA_SASL_MECHANISM: "plain" is unknown; want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512`},
		{"KAFKA_GROUP=a/b", `KAFKA_GROUP: "a/b" is no legal name in Kafka`},
		{"KAFKA_GROUP_ADOPT=old", "KAFKA_GROUP_ADOPT: taking over another group's state comes with a later version"},
		{"KAFKA_GROUP_PROTOCOL=new", `KAFKA_GROUP_PROTOCOL: "new" is unknown; want classic or consumer`},
		{"KAFKA_GROUP_PROTOCOL=consumer", ""},
		{"KAFKA_GROUP_PROTOCOL=consumer KAFKA_SESSION_TIMEOUT=6s", "KAFKA_SESSION_TIMEOUT: a setting of the brokers"},
		{"KAFKA_GROUP_INSTANCE_ID=a:b", `KAFKA_GROUP_INSTANCE_ID: "a:b" is no legal name`},
		{"KAFKA_SESSION_TIMEOUT=5999ms", `KAFKA_SESSION_TIMEOUT: "5999ms" is out of range; want 6s`},
		{"KAFKA_SESSION_TIMEOUT=5m1s", `KAFKA_SESSION_TIMEOUT: "5m1s" is out of range`},
		{"KAFKA_EVENTS_TOPIC=a/b KAFKA_STATE_TOPIC=. KAFKA_DLQ_TOPIC=" + strings.Repeat("d", 250), `KAFKA_DLQ_TOPIC: "` + strings.Repeat("d", 60) +
			`"… is no legal name|KAFKA_EVENTS_TOPIC: "a/b" is no legal name|KAFKA_STATE_TOPIC: "." is no legal name`},
		{"KAFKA_DLQ_TOPIC=pstn-calls", "KAFKA_DLQ_TOPIC: the same topic as KAFKA_EVENTS_TOPIC"},
		{"KAFKA_STATE_TOPIC=x KAFKA_WATERMARK_TOPIC=x", "KAFKA_WATERMARK_TOPIC: the same topic as KAFKA_STATE_TOPIC"},
		{"KAFKA_COMPRESSION=brotli", `KAFKA_COMPRESSION: "brotli" is unknown; want none, snappy, lz4, zstd or gzip`},

		// Registry.
		{"SCHEMA_REGISTRY_URL=registry:8081", "SCHEMA_REGISTRY_URL: not an absolute http or https URL"},
		{"SCHEMA_REGISTRY_URL=http://u:p@registry", "SCHEMA_REGISTRY_URL: holds a user name or password"},
		{"SCHEMA_REGISTRY_URL=http://registry/#x", "SCHEMA_REGISTRY_URL: holds a query or a fragment"},
		{"SCHEMA_REGISTRY_URL=http://registry SCHEMA_REGISTRY_USERNAME=u", "SCHEMA_REGISTRY_PASSWORD: not set although SCHEMA_REGISTRY_USERNAME is"},
		{"SCHEMA_REGISTRY_URL=http://registry SCHEMA_REGISTRY_PASSWORD=p", "SCHEMA_REGISTRY_USERNAME: not set although SCHEMA_REGISTRY_PASSWORD is"},
		{"SCHEMA_REGISTRY_USERNAME=u SCHEMA_REGISTRY_PASSWORD=p", "SCHEMA_REGISTRY_URL: not set although"},

		// Privacy.
		{"PRIVACY_FIELDS=callId=hash", "PRIVACY_HASH_KEY: not set although PRIVACY_FIELDS has a hash rule"},
		{"PRIVACY_FIELDS=callId=hash PRIVACY_HASH_KEY=0123456789abcde", "PRIVACY_HASH_KEY: too short; want 16 bytes or more"},
		{"PRIVACY_FIELDS=callerNumber=mask", ""},
		{"PRIVACY_FIELDS=callerNumbr=mask,charge=mask,callerNumber=shred", "PRIVACY_FIELDS: \"callerNumbr\"|PRIVACY_FIELDS: callerNumber=shred|PRIVACY_FIELDS: charge=mask"},
		{"PRIVACY_FIELDS=0123456789abcdef PRIVACY_HASH_KEY=0123456789abcdef", "PRIVACY_FIELDS: holds the value of a secret"},

		// Admin and log.
		{"ADMIN_ADDR=8080", `ADMIN_ADDR: "8080" is not host:port`},
		{"ADMIN_ADDR=:http", `ADMIN_ADDR: ":http" is not host:port`},
		{"LOG_LEVEL=INFO+2", `LOG_LEVEL: "INFO+2" is unknown; want debug, info, warn or error`},
		{"LOG_LEVEL=trace", `LOG_LEVEL: "trace" is not understood; want debug, info, warn or error`},
		{"LOG_LEVEL=WARN", ""},
		{"LOG_FORMAT=xml", `LOG_FORMAT: "xml" is unknown; want text or json`},
	} {
		var environ []string
		replaced := map[string]bool{}
		for v := range strings.SplitSeq(strings.TrimSpace(files.Replace(c.environ)), " ") {
			name, _, _ := strings.Cut(v, "=")
			environ, replaced[name] = append(environ, v), true
		}
		for _, v := range least {
			if name, _, _ := strings.Cut(v, "="); !replaced[name] {
				environ = append(environ, v)
			}
		}
		got := lines(t, Load, environ)
		var want []string
		if c.want != "" {
			want = strings.Split(c.want, "|")
		}
		ok := len(got) == len(want)
		for i := range got {
			ok = ok && strings.HasPrefix(got[i], want[i]) && strings.Count(got[i], "; ") >= 1
		}
		if !ok {
			t.Errorf("%s:\n got %q\nwant %q", c.environ, got, want)
		}
	}
}

// secret is what no error may show, wherever it was put by mistake.
const secret = "hunter2-hunter2-hunter2"

func TestNoMistakeShowsASecret(t *testing.T) {
	path := tempFile(t, secret+"\n")
	for _, known := range []string{"KAFKA_SASL_PASSWORD=" + secret, "KAFKA_SASL_PASSWORD_FILE=" + path, "AZURE_CLIENT_SECRET=" + secret} {
		for _, v := range Manual() {
			for _, value := range []string{secret, "x" + secret, "a," + secret + " b", "http://u:" + secret + "@host/%zz", secret + "=mask"} {
				if _, err := Load(with(known, v.Name+"="+value, v.Name+"_FILE="+value)); err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("%s and %s=%s: %v", known, v.Name, value, err)
				}
			}
		}
	}
	// The secret in place of its file's path, and a file of secrets in place of a list of tenants.
	for _, environ := range []string{"KAFKA_SASL_PASSWORD_FILE=" + secret, "GRAPH_TENANTS_FILE=" + tempFile(t, secret+" \u00e9"), "KAFKA_TLS_KEY_FILE=" + path} {
		_, err := Load(with(environ, "KAFKA_TLS=true", "KAFKA_TLS_CERT_FILE="+path))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", environ, err)
		}
	}
	cfg, err := Load(with("KAFKA_SASL_MECHANISM=PLAIN", "KAFKA_SASL_USERNAME=u", "KAFKA_SASL_PASSWORD="+secret))
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v %q", cfg, cfg, cfg, cfg.Warnings()); strings.Contains(text, secret) {
		t.Errorf("printed: %s", text)
	}
}

func TestMisspelt(t *testing.T) {
	for name, want := range map[string]string{
		"KAFKA_BROKER":               "KAFKA_BROKERS",
		"KAKFA_BROKERS":              "KAFKA_BROKERS",
		"KAFKA_SSL":                  "KAFKA_TLS",
		"AZURE_CLIENT_SECERT_FILE":   "AZURE_CLIENT_SECRET_FILE",
		"AZURE_CLIENTID":             "AZURE_CLIENT_ID",
		"GRAPH_TENANT":               "GRAPH_TENANTS",
		"LOGLEVEL":                   "LOG_LEVEL",
		"SCHEMAREGISTRY_URL":         "SCHEMA_REGISTRY_URL",
		"PRIVACY_HASHKEY":            "PRIVACY_HASH_KEY",
		"ADMIN_ADR":                  "ADMIN_ADDR",
		"POLL_LOOK_BACK":             "POLL_LOOKBACK",
		"KAFKA_GROUP_INSTANCE_IDS":   "KAFKA_GROUP_INSTANCE_ID",
		"KAFKA_SASL_PASSWORD_FILES":  "KAFKA_SASL_PASSWORD_FILE",
		"GRAPH_REQUEST_PER_MINUTES":  "GRAPH_REQUESTS_PER_MINUTE",
		"AZURE_FEDERATED_TOKEN_FILL": "AZURE_FEDERATED_TOKEN_FILE",
	} {
		got := lines(t, Load, with(name+"=x"))
		if len(got) != 1 || got[0] != name+": is no variable of this program; did you mean "+want+"?" {
			t.Errorf("%s: %q, want it to suggest %s", name, got, want)
		}
		if got := lines(t, Load, with(name+"=")); got != nil {
			t.Errorf("%s set but empty: %q, want nothing", name, got)
		}
	}
	if got := lines(t, Load, with("LOG\nLEVEL=x")); len(got) != 1 {
		t.Errorf("a line feed in a name: %q, want one line", got)
	}
}

// What others put into the environment is left alone, though some of it is near our names.
func TestForeignVariables(t *testing.T) {
	environ := with()
	for name := range strings.FieldsSeq(`
		KAFKA_PORT KAFKA_SERVICE_HOST KAFKA_SERVICE_PORT KAFKA_SERVICE_PORT_TLS KAFKA_PORT_9092_TCP KAFKA_PORT_9092_TCP_PROTO
		KAFKA_PORT_9092_TCP_PORT KAFKA_PORT_9092_TCP_ADDR KAFKA_TLS_PORT GRAPH_PORT POLL_PORT LOG_PORT ADMIN_PORT SCHEMA_REGISTRY_PORT
		SCHEMA_REGISTRY_SERVICE_HOST AZURE_AUTHORITY_PORT KAFKA_NAME KAFKA_HOME KAFKA_OPTS KAFKA_HEAP_OPTS KAFKA_VERSION KAFKA_CFG_NODE_ID
		KAFKA_ADVERTISED_LISTENERS KAFKA_CLUSTER_ID KAFKA_LOG_DIRS SCHEMA_REGISTRY_HOST_NAME
		AZURE_CONFIG_DIR AZURE_SUBSCRIPTION_ID AZURE_RESOURCE_GROUP AZURE_LOCATION AZURE_ENV_NAME AZURE_CLOUD AZURE_ENVIRONMENT
		AZURE_USERNAME AZURE_PASSWORD AZURE_CLIENT_CERTIFICATE_PASSWORD AZURE_CLIENT_SEND_CERTIFICATE_CHAIN AZURE_REGIONAL_AUTHORITY_NAME
		AZURE_ADDITIONALLY_ALLOWED_TENANTS AZURE_TOKEN_CREDENTIALS AZURE_POD_IDENTITY_AUTHORITY_HOST AZURE_HTTP_USER_AGENT
		AZURE_STORAGE_ACCOUNT AZURE_KEYVAULT_URL AZURE_OPENAI_ENDPOINT IDENTITY_ENDPOINT MSI_ENDPOINT LOG_DIR LOG_FILE PATH HOME _ A`) {
		environ = append(environ, name+"=x")
	}
	environ = append(environ, strings.Repeat("K", 1<<20)+"=x", "=C:=C:\\", "no equals sign")
	if got := lines(t, Load, environ); got != nil {
		t.Errorf("%q", got)
	}
}

func FuzzLoad(f *testing.F) {
	path := filepath.Join(f.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Add("KAFKA_BROKERS", "nonsense", "POLL_INTERVAL", "soon", "KAFKA_BROKER", "x")
	f.Add("POLL_START", "2026-11-01T00:00:00+23:59", "GRAPH_ENDPOINT", "http://u:hunter2-hunter2-hunter2@[::1%25]:0/?#", "LOG_LEVEL", "INFO-9")
	f.Add("PRIVACY_FIELDS", "callId=hash,=,x=\n,hunter2-hunter2-hunter2=mask", "GRAPH_TENANTS", ",..,\x00", "KAFKA_TLS", "true")
	f.Add("KAFKA_SASL_MECHANISM", "hunter2-hunter2-hunter2", "KAFKA_SASL_USERNAME", "\xff", "KAFKA_GROUP\n", "é")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, name3, value3 string) {
		environ := []string{name1 + "=" + value1, name2 + "=" + value2, name3 + "=" + value3}
		for _, e := range environ {
			if name, _, _ := strings.Cut(e, "="); strings.Contains(name, secret) {
				t.Skip("a secret as a name")
			}
		}
		for _, known := range []string{"KAFKA_SASL_PASSWORD=" + secret, "KAFKA_SASL_PASSWORD_FILE=" + path} {
			for _, load := range []func([]string) (*Config, error){Load, LoadKafka} {
				cfg, err := load(append([]string{known}, with(environ...)...))
				if (cfg == nil) == (err == nil) {
					t.Fatalf("Config %v, error %v", cfg, err)
				}
				if err == nil {
					continue
				}
				for line := range strings.SplitSeq(err.Error(), "\n") {
					if _, rest, ok := strings.Cut(line, ": "); !ok || !strings.Contains(rest, "; ") {
						t.Errorf("%q is not `VARIABLE: what is wrong; what would be right`", line)
					}
				}
				if strings.Contains(err.Error(), secret) {
					t.Errorf("shows the secret: %v", err)
				}
			}
		}
	})
}

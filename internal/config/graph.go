package config

import (
	"fmt"
	"net/url"
	"strings"
)

// checkGraph checks what is asked of Graph and with whose token. It fills Tenants from TenantsFile.
func (c *check) checkGraph(cfg *Config) {
	g := &cfg.Graph
	c.oneOf("GRAPH_AUTH", g.Auth, "azure", "none")
	c.oneOf("GRAPH_API_VERSION", g.APIVersion, "beta", "v1.0")
	within(c, "GRAPH_CONCURRENCY", 1, g.Concurrency, 32, "1 to 32")
	if g.Auth == "none" {
		within(c, "GRAPH_REQUESTS_PER_MINUTE", 1, g.RequestsPerMinute, 1_000_000, "1 to 1000000")
	} else {
		within(c, "GRAPH_REQUESTS_PER_MINUTE", 1, g.RequestsPerMinute, 50, "1 to 50, Graph's limit (more only with GRAPH_AUTH=none)")
	}
	if strings.Contains(strings.ToLower(g.Cloud), "china") {
		c.Add("GRAPH_CLOUD", "the cloud in China has no PSTN call log", "want global, usgov or usgovdod")
	} else {
		c.oneOf("GRAPH_CLOUD", g.Cloud, "global", "usgov", "usgovdod")
	}
	c.checkRoot("GRAPH_ENDPOINT", g.Endpoint, g.Auth)
	c.checkRoot("AZURE_AUTHORITY_HOST", cfg.Azure.AuthorityHost, g.Auth)
	if g.Auth == "none" && !c.Set("GRAPH_ENDPOINT") {
		c.Add("GRAPH_ENDPOINT", "not set although GRAPH_AUTH is none", "want the simulator's root URL, such as http://127.0.0.1:8900")
	}
	c.checkTenants(g)
	if g.Auth == "azure" {
		c.checkCredential(cfg)
	}
}

// checkRoot checks the root URL of Graph or of the token authority. Tokens and secrets travel in clear text to this machine only.
func (c *check) checkRoot(name string, u *url.URL, auth string) {
	if u == nil || !c.url(name, u, false) {
		return
	}
	if strings.HasSuffix(u.Hostname(), ".chinacloudapi.cn") {
		c.Add(name, "the cloud in China has no PSTN call log", "want a host of another cloud, or none and GRAPH_CLOUD")
	}
	if auth != "none" && u.Scheme == "http" && !loopback(u) {
		c.Add(name, "plain http to another machine would show tokens", "want https (http only on loopback, or with GRAPH_AUTH=none)")
	}
}

// checkTenants checks the tenants wherever they come from.
func (c *check) checkTenants(g *Graph) {
	const right = "want the id of a tenant: up to 64 letters, digits, dots and hyphens"
	seen := map[string]bool{}
	if id := c.Value("AZURE_TENANT_ID"); id != "" {
		if err := checkTenant(id, seen); err != nil {
			c.Add("AZURE_TENANT_ID", c.Show(id)+" "+err.Error(), right)
		}
	}
	switch {
	case g.TenantsFile != "":
		if c.Set("GRAPH_TENANTS") {
			c.Add("GRAPH_TENANTS_FILE", "GRAPH_TENANTS is set too", "set one of them")
			return
		}
		var err error
		if g.Tenants, err = ReadTenants(g.TenantsFile); err != nil {
			c.AddEach("GRAPH_TENANTS_FILE", err, "want the path of a file with the id of a tenant on each line")
		}
	case c.Set("GRAPH_TENANTS"):
		clear(seen)
		for i, id := range g.Tenants {
			if err := checkTenant(id, seen); err != nil {
				c.Add("GRAPH_TENANTS", fmt.Sprintf("%s, at place %d, %v", c.Show(id), i+1, err), right)
			}
		}
	case len(g.Tenants) == 0:
		c.Add("GRAPH_TENANTS", "no tenant to poll", "want AZURE_TENANT_ID, GRAPH_TENANTS or GRAPH_TENANTS_FILE")
	}
}

// checkCredential checks that there is one credential at most, and what it needs.
func (c *check) checkCredential(cfg *Config) {
	var given []string
	if c.Given("AZURE_CLIENT_SECRET") {
		given = append(given, "AZURE_CLIENT_SECRET")
	}
	if path := cfg.Azure.ClientCertificatePath; path != "" {
		given = append(given, "AZURE_CLIENT_CERTIFICATE_PATH")
		c.file("AZURE_CLIENT_CERTIFICATE_PATH", path, "a file with certificate and private key")
	}
	if path := cfg.Azure.FederatedTokenFile; path != "" {
		given = append(given, "AZURE_FEDERATED_TOKEN_FILE")
		c.file("AZURE_FEDERATED_TOKEN_FILE", path, "the token file of workload identity")
	}
	if len(given) == 0 {
		// A managed identity's token is for its own tenant, whatever tenant is asked for: its rows would come out under every name.
		if len(cfg.Graph.Tenants) > 1 {
			c.Add("GRAPH_TENANTS", "a managed identity reads one tenant only",
				"want one tenant, or AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE")
		}
		return
	}
	for _, name := range given[1:] {
		c.Add(name, given[0]+" is set too", "want one credential")
	}
	for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID"} {
		if !c.Set(name) {
			c.Add(name, "not set although "+given[0]+" is", "want the ids of the Entra application")
		}
	}
}

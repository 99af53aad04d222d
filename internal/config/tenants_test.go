package config

import (
	"strings"
	"testing"

	"pstncalls/internal/graph"
)

// What the tenants file may name, the Graph client takes, and the other way round: a tenant that only one of them refuses would
// be found out by a running producer.
func TestTenantsAsTheGraphClientTakesThem(t *testing.T) {
	for id, legal := range map[string]bool{
		"9e1f7e2c-1d4b-4b52-a8a3-000000000000": true, "contoso.onmicrosoft.com": true, "A-1": true, strings.Repeat("a", 64): true,
		"contoso_eu": false, "a/b": false, "..": false, "é": false, "a b": false, strings.Repeat("a", 65): false,
	} {
		_, inFile := ReadTenants(tempFile(t, id+"\n"))
		_, inClient := graph.NewTokens(graph.TokenConfig{Auth: "azure", Tenant: id, Scope: "s"})
		_, inSimulation := graph.NewTokens(graph.TokenConfig{Auth: "none", Tenant: id})
		if (inFile == nil) != legal || (inClient == nil) != legal || (inSimulation == nil) != legal {
			t.Errorf("%q: file %v, client %v, simulation %v; want legal %v", id, inFile, inClient, inSimulation, legal)
		}
	}
}

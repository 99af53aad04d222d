package graph

import (
	"errors"
	"fmt"
	"net/url"
)

// Cloud is one of Microsoft's clouds that have the call log. Their tokens are not interchangeable.
type Cloud struct {
	Name             string
	Graph, Authority *url.URL // roots
	Scope            string   // of its tokens
}

// CloudByName returns the cloud of a GRAPH_CLOUD name: global, usgov or usgovdod.
func CloudByName(name string) (Cloud, error) {
	var graph, authority string
	switch name {
	case "global":
		graph, authority = "graph.microsoft.com", "login.microsoftonline.com"
	case "usgov":
		graph, authority = "graph.microsoft.us", "login.microsoftonline.us"
	case "usgovdod":
		graph, authority = "dod-graph.microsoft.us", "login.microsoftonline.us"
	case "china":
		return Cloud{}, errors.New("cloud china: Microsoft does not offer the PSTN call log in the cloud operated by 21Vianet")
	default:
		return Cloud{}, fmt.Errorf("cloud %q: want global, usgov or usgovdod", name)
	}
	return Cloud{
		Name:      name,
		Graph:     &url.URL{Scheme: "https", Host: graph},
		Authority: &url.URL{Scheme: "https", Host: authority},
		Scope:     "https://" + graph + "/.default",
	}, nil
}

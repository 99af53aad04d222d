// Package graph owns the way to Microsoft Graph's PSTN call log: tokens, the request budget, pages, and what an error means.
// No other package makes a request to Graph.
//
// Its invariants:
//   - Every request, a repeated one too, is taken from the tenant's Budget first; a Retry-After holds the whole Budget before
//     the error that carries it is returned.
//   - An answer is a page only if it is a whole JSON object with one `value` array. Anything else is an error: a failure never
//     looks like an empty window.
//   - A token goes to the scheme, host and port of the configured root only: links are pinned to it, redirects are not followed.
//   - Errors are classified here once. How long to back off is the caller's decision, from Error.Class and Error.RetryAfter.
//   - No token, secret, address or phone number reaches a log or an error.
//
// What is decided by time (budget, token life, Retry-After) goes through a clock.Clock. The limits on one request (30 s to the
// headers, 100 s for the page) are the network's and run in real time, as Kafka's do.
package graph

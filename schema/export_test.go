package schema

var CanonicalForm = canonicalForm

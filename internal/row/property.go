package row

import (
	"pstncalls/schema"
)

// kind is what a property holds.
type kind uint8

const (
	text kind = iota
	dateTime
	seconds
	money
	units
)

// property is one property of a row that the schema knows.
type property struct {
	name string
	kind kind
	// stable properties identify a row that has no id.
	stable bool
	// field is where a text property goes; nil for the other kinds.
	field func(*schema.PstnCall) **string
}

// Properties that the code treats one by one, as positions in properties.
const (
	propID            = 0
	propCallID        = 1
	propStartDateTime = 5
	propEndDateTime   = 6
	propCharge        = 12
	propUnits         = 24
	propCount         = 29
)

// properties is every property that the schema knows, in the order of its fields. It is never written to.
var properties = [propCount]property{
	{name: "id", field: func(c *schema.PstnCall) **string { return &c.ID }},
	{name: "callId", stable: true, field: func(c *schema.PstnCall) **string { return &c.CallID }},
	{name: "userId", stable: true, field: func(c *schema.PstnCall) **string { return &c.UserID }},
	{name: "userPrincipalName", field: func(c *schema.PstnCall) **string { return &c.UserPrincipalName }},
	{name: "userDisplayName", field: func(c *schema.PstnCall) **string { return &c.UserDisplayName }},
	{name: "startDateTime", kind: dateTime, stable: true},
	{name: "endDateTime", kind: dateTime},
	{name: "duration", kind: seconds},
	{name: "callDurationSource", field: func(c *schema.PstnCall) **string { return &c.CallDurationSource }},
	{name: "callType", stable: true, field: func(c *schema.PstnCall) **string { return &c.CallType }},
	{name: "callerNumber", stable: true, field: func(c *schema.PstnCall) **string { return &c.CallerNumber }},
	{name: "calleeNumber", stable: true, field: func(c *schema.PstnCall) **string { return &c.CalleeNumber }},
	{name: "charge", kind: money},
	{name: "connectionCharge", kind: money},
	{name: "currency", field: func(c *schema.PstnCall) **string { return &c.Currency }},
	{name: "destinationContext", field: func(c *schema.PstnCall) **string { return &c.DestinationContext }},
	{name: "destinationName", field: func(c *schema.PstnCall) **string { return &c.DestinationName }},
	{name: "conferenceId", stable: true, field: func(c *schema.PstnCall) **string { return &c.ConferenceID }},
	{name: "licenseCapability", field: func(c *schema.PstnCall) **string { return &c.LicenseCapability }},
	{name: "inventoryType", field: func(c *schema.PstnCall) **string { return &c.InventoryType }},
	{name: "operator", field: func(c *schema.PstnCall) **string { return &c.Operator }},
	{name: "tenantCountryCode", field: func(c *schema.PstnCall) **string { return &c.TenantCountryCode }},
	{name: "usageCountryCode", field: func(c *schema.PstnCall) **string { return &c.UsageCountryCode }},
	{name: "otherPartyCountryCode", field: func(c *schema.PstnCall) **string { return &c.OtherPartyCountryCode }},
	{name: "administrativeUnitInfos", kind: units},
	{name: "clientPublicIpV4Address", field: func(c *schema.PstnCall) **string { return &c.ClientPublicIPV4Address }},
	{name: "clientPublicIpV6Address", field: func(c *schema.PstnCall) **string { return &c.ClientPublicIPV6Address }},
	{name: "clientLocalIpV4Address", field: func(c *schema.PstnCall) **string { return &c.ClientLocalIPV4Address }},
	{name: "clientLocalIpV6Address", field: func(c *schema.PstnCall) **string { return &c.ClientLocalIPV6Address }},
}

// positions returns the position of each property by its exact name, as JSON.
func positions() map[string]int {
	m := make(map[string]int, propCount)
	for i := range properties {
		m[`"`+properties[i].name+`"`] = i
	}
	return m
}

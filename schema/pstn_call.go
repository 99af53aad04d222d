package schema

import "time"

// PstnCall is the event of one row: the Go form of pstn_call.avsc. Its JSON has Graph's property names.
//
// A nil pointer (a nil slice for AdministrativeUnitInfos) is Avro's null: Graph did not send the property, or sent null.
// Times are UTC and cut to the millisecond.
type PstnCall struct {
	// TenantID is the tenant that the row was read from, as configured.
	TenantID string `json:"tenantId"`
	// RowID is the row's identity within the tenant, never empty: what readers dedupe on, together with Revision.
	RowID string `json:"rowId"`
	// Revision is 0 for a row's first event and n for its n-th correction.
	Revision int32 `json:"revision"`
	// ObservedAt is when the program published this revision.
	ObservedAt time.Time `json:"observedAt"`

	ID                      *string                  `json:"id"`
	CallID                  *string                  `json:"callId"`
	UserID                  *string                  `json:"userId"`
	UserPrincipalName       *string                  `json:"userPrincipalName"`
	UserDisplayName         *string                  `json:"userDisplayName"`
	StartDateTime           *time.Time               `json:"startDateTime"`
	EndDateTime             *time.Time               `json:"endDateTime"`
	Duration                *int32                   `json:"duration"` // seconds
	CallDurationSource      *string                  `json:"callDurationSource"`
	CallType                *string                  `json:"callType"`
	CallerNumber            *string                  `json:"callerNumber"`
	CalleeNumber            *string                  `json:"calleeNumber"`
	Charge                  *Money                   `json:"charge"`
	ConnectionCharge        *Money                   `json:"connectionCharge"`
	Currency                *string                  `json:"currency"`
	DestinationContext      *string                  `json:"destinationContext"`
	DestinationName         *string                  `json:"destinationName"`
	ConferenceID            *string                  `json:"conferenceId"`
	LicenseCapability       *string                  `json:"licenseCapability"`
	InventoryType           *string                  `json:"inventoryType"`
	Operator                *string                  `json:"operator"`
	TenantCountryCode       *string                  `json:"tenantCountryCode"`
	UsageCountryCode        *string                  `json:"usageCountryCode"`
	OtherPartyCountryCode   *string                  `json:"otherPartyCountryCode"`
	AdministrativeUnitInfos []AdministrativeUnitInfo `json:"administrativeUnitInfos"`
	ClientPublicIPV4Address *string                  `json:"clientPublicIpV4Address"`
	ClientPublicIPV6Address *string                  `json:"clientPublicIpV6Address"`
	ClientLocalIPV4Address  *string                  `json:"clientLocalIpV4Address"`
	ClientLocalIPV6Address  *string                  `json:"clientLocalIpV6Address"`

	// Extra holds the raw JSON of every property that the schema does not know, by name; it is never null in Avro.
	Extra map[string]string `json:"extra"`
}

// AdministrativeUnitInfo names one administrative unit tied to the call.
type AdministrativeUnitInfo struct {
	ID *string `json:"id"`
}

// Money is an amount in millionths of the row's currency: Avro's decimal(18,6), exactly.
// Its absolute value is below 10^18.
type Money int64

// Key returns the key of the event's record: the call id, or the row id where that is null or empty.
func (c *PstnCall) Key() string {
	if c.CallID != nil && *c.CallID != "" {
		return *c.CallID
	}
	return c.RowID
}

-- Views over the table pstn_calls, which has a row an event.

-- Amounts as decimal(18,6), as in the schema: Kafka Connect's decimals have no precision, so the table's columns are decimal(38,6).
CREATE VIEW calls AS
SELECT * REPLACE (charge::DECIMAL(18, 6) AS charge, connectionCharge::DECIMAL(18, 6) AS connectionCharge) FROM pstn_calls;

-- Each row of Graph as it is now: its highest revision.
CREATE VIEW calls_now AS
SELECT * FROM calls QUALIFY row_number() OVER (PARTITION BY tenantId, rowId ORDER BY revision DESC) = 1;

-- What each day cost. Amounts of different currencies do not add up.
CREATE VIEW days AS
SELECT tenantId, (startDateTime AT TIME ZONE 'UTC')::DATE AS day, currency, count(*) AS calls, sum(charge) AS charge
FROM calls_now GROUP BY ALL ORDER BY ALL;

-- Calls and charges per day and currency, of the rows as they are now. Flink.java runs this as it stands, but for the topic and the
-- two addresses, and ends where the topic ended when it began.
CREATE TABLE calls (
  tenantId STRING NOT NULL,
  rowId STRING NOT NULL,
  revision INT NOT NULL,
  startDateTime TIMESTAMP(3), -- UTC, whatever the session's time zone
  charge DECIMAL(18, 6),
  currency STRING
) WITH (
  'connector' = 'kafka',
  'topic' = 'pstn-calls',
  'properties.bootstrap.servers' = 'broker-1:9092',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'avro-confluent',
  'avro-confluent.url' = 'http://registry:8081'
);

CREATE VIEW calls_now AS
SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY tenantId, rowId ORDER BY revision DESC) AS n FROM calls
) WHERE n = 1;

SELECT CAST(startDateTime AS DATE) AS `day`, currency, COUNT(*) AS calls, SUM(charge) AS charge
FROM calls_now GROUP BY CAST(startDateTime AS DATE), currency;

-- All events, corrections included.
SELECT COUNT(*) FROM calls;

-- A property that Microsoft has added: first in extra, as raw JSON, then in a field of its own. The column may be declared before
-- the schema has the field: it is null until then. Flink.java runs this as it stands, but for the three addresses.
CREATE TABLE calls (
  tenantId STRING NOT NULL,
  rowId STRING NOT NULL,
  revision INT NOT NULL,
  extra MAP<STRING NOT NULL, STRING NOT NULL> NOT NULL,
  mediaRegion STRING
) WITH (
  'connector' = 'kafka',
  'topic' = 'pstn-calls',
  'properties.bootstrap.servers' = 'broker-1:9092',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'avro-confluent',
  'avro-confluent.url' = 'http://registry:8081'
);

SELECT rowId, COALESCE(mediaRegion, JSON_VALUE(extra['mediaRegion'], '$')) AS mediaRegion FROM calls;

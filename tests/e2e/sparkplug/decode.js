// Payloads as sparkplug-payload (Eclipse Tahu's for JavaScript) reads them: lines of VERB DEVICE HEX in, a line of JSON
// each out.
"use strict";
const spark = require("sparkplug-payload").get("spBv1.0");

const whole = (found) => (found === undefined || found === null ? null : Number(found.toString()));
const value = (metric) => {
  if (metric.value === null || metric.value === undefined) return null;
  switch (metric.type) {
    case "Int64":
    case "UInt64":
      return { whole: metric.value.toString() };
    case "Double":
      return { double: metric.value };
    case "Boolean":
      return { boolean: metric.value };
    default:
      return { text: metric.value };
  }
};
const TYPES = { Int64: 4, UInt64: 8, Double: 10, Boolean: 11, String: 12 };

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const payload = spark.decodePayload(Buffer.from(line.split(" ")[2], "hex"));
    const metrics = (payload.metrics || []).map((metric) => ({
      name: metric.name === undefined ? null : metric.name,
      alias: whole(metric.alias),
      timestamp: whole(metric.timestamp),
      datatype: TYPES[metric.type],
      historical: metric.isHistorical === true,
      value: value(metric),
      quality: metric.properties && metric.properties.Quality ? metric.properties.Quality.value : null,
    }));
    console.log(JSON.stringify({ seq: whole(payload.seq), timestamp: whole(payload.timestamp), metrics }));
  });

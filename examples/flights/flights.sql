-- Flights from New York, enriched with airline, plane and destination.
-- From the repository's root:  cargo run -- run examples/flights/flights.sql

CREATE STREAM flights WITH (path = 'examples/flights/flights.csv', null = 'NA');

CREATE TABLE airlines (carrier VARCHAR, name VARCHAR, PRIMARY KEY (carrier))
  WITH (path = 'examples/flights/airlines.csv');

CREATE TABLE planes (tailnum VARCHAR, year INT, manufacturer VARCHAR, model VARCHAR, seats INT, PRIMARY KEY (tailnum))
  WITH (path = 'examples/flights/planes.csv', null = 'NA');

CREATE TABLE airports (faa VARCHAR, name VARCHAR, lat DOUBLE, lon DOUBLE, PRIMARY KEY (faa))
  WITH (path = 'examples/flights/airports.csv');

-- Every flight with a known plane; destinations that are not in the table stay, as NULL.
CREATE VIEW enriched AS
SELECT f.time_hour, f.flight, f.origin, f.dest, f.dep_delay, f.distance,
       a.name AS airline, p.manufacturer, p.model, p.year AS built, p.seats, d.name AS destination
FROM flights f
JOIN airlines a ON f.carrier = a.carrier
JOIN planes p ON f.tailnum = p.tailnum
LEFT JOIN airports d ON f.dest = d.faa;

SELECT airline,
       COUNT(*)                                   AS flights,
       COUNT(*) - COUNT(destination)              AS unknown_destination,
       SUM(seats)                                 AS seats,
       ROUND(AVG(2013 - built), 1)                AS plane_age,
       ROUND(AVG(dep_delay), 1)                   AS delay_minutes
FROM enriched
GROUP BY airline
ORDER BY flights DESC;

SELECT airline, origin, destination, model, built, dep_delay
FROM enriched
WHERE dep_delay > 180
ORDER BY dep_delay DESC, airline
LIMIT 8;

-- One row a flight of :from_date .. :to_date, from nothing but what was known at its score moment,
-- two hours before the scheduled departure.
--
-- Facts, each at the minute it became known, stand in one stream with questions, one a flight at its score moment:
-- a window that ends at the question's own minute cannot see a later fact.
-- The subset of SQL that DuckDB and Spark share; times are minutes since 1970-01-01 UTC; sums are of integers, so that
-- no rate depends on the order of rows.
WITH questions AS (
    SELECT flight_id, score_date, moment_minute AS minute, origin, carrier, dest, departure_hour
    FROM accepted
    WHERE score_date BETWEEN :from_date AND :to_date
),
arrivals AS (
    SELECT questions.*, 1 AS asked, 0 AS arrived, 0 AS late FROM questions
    UNION ALL
    SELECT NULL, NULL, arrived_minute, origin, carrier, dest, departure_hour, 0, 1, late
    FROM accepted
    WHERE arrived_minute IS NOT NULL
),
outcomes AS (
    SELECT
        flight_id, score_date, asked,
        SUM(arrived) OVER origin_6h AS origin_arrived_6h,
        SUM(late) OVER origin_6h AS origin_late_6h,
        SUM(arrived) OVER carrier_24h AS carrier_arrived_24h,
        SUM(late) OVER carrier_24h AS carrier_late_24h,
        SUM(arrived) OVER carrier_7d AS carrier_arrived_7d,
        SUM(late) OVER carrier_7d AS carrier_late_7d,
        SUM(arrived) OVER dest_6h AS dest_arrived_6h,
        SUM(late) OVER dest_6h AS dest_late_6h,
        SUM(arrived) OVER route_28d AS route_arrived_28d,
        SUM(late) OVER route_28d AS route_late_28d,
        SUM(arrived) OVER hour_28d AS hour_arrived_28d,
        SUM(late) OVER hour_28d AS hour_late_28d
    FROM arrivals
    WINDOW
        origin_6h AS (PARTITION BY origin ORDER BY minute RANGE BETWEEN 360 PRECEDING AND CURRENT ROW),
        carrier_24h AS (PARTITION BY carrier ORDER BY minute RANGE BETWEEN 1440 PRECEDING AND CURRENT ROW),
        carrier_7d AS (PARTITION BY carrier ORDER BY minute RANGE BETWEEN 10080 PRECEDING AND CURRENT ROW),
        dest_6h AS (PARTITION BY dest ORDER BY minute RANGE BETWEEN 360 PRECEDING AND CURRENT ROW),
        route_28d AS (PARTITION BY origin, dest ORDER BY minute RANGE BETWEEN 40320 PRECEDING AND CURRENT ROW),
        hour_28d AS (PARTITION BY origin, departure_hour ORDER BY minute RANGE BETWEEN 40320 PRECEDING AND CURRENT ROW)
),
departures AS (
    SELECT flight_id, score_date, minute, origin, carrier, 1 AS asked, 0 AS departed, 0 AS delay, 0 AS due
    FROM questions
    UNION ALL
    SELECT NULL, NULL, departed_minute, origin, carrier, 0, 1, dep_delay, 0
    FROM accepted
    WHERE departed_minute IS NOT NULL
    UNION ALL
    SELECT NULL, NULL, scheduled_minute, origin, carrier, 0, 0, 0, 1
    FROM accepted
),
airport AS (
    -- A flight that was due and has not left shows before any arrival does: the first sign of a bad day.
    SELECT
        flight_id, score_date, asked,
        SUM(departed) OVER origin_2h AS origin_departed_2h,
        SUM(delay) OVER origin_2h AS origin_departure_delay_2h,
        SUM(due) OVER origin_3h - SUM(departed) OVER origin_3h AS origin_overdue_3h,
        SUM(departed) OVER carrier_3h AS carrier_departed_3h,
        SUM(delay) OVER carrier_3h AS carrier_departure_delay_3h
    FROM departures
    WINDOW
        origin_2h AS (PARTITION BY origin ORDER BY minute RANGE BETWEEN 120 PRECEDING AND CURRENT ROW),
        origin_3h AS (PARTITION BY origin ORDER BY minute RANGE BETWEEN 180 PRECEDING AND CURRENT ROW),
        carrier_3h AS (PARTITION BY carrier ORDER BY minute RANGE BETWEEN 180 PRECEDING AND CURRENT ROW)
),
observations AS (
    -- Joined in UTC: by local hour three keys are double. One row an airport and hour, whatever the file holds.
    SELECT
        origin, observed_minute, temp, dewp, humid, precip, pressure, visib, wind_gust,
        CASE WHEN wind_speed < 200 THEN wind_speed END AS wind_speed -- 1,048 mph at Newark on 12 February
    FROM (
        SELECT
            w.*,
            (365 * (YEAR(utc_hour) - 1970) + CAST(FLOOR((YEAR(utc_hour) - 1969) / 4) AS INTEGER)
                + DAYOFYEAR(utc_hour) - 1) * 1440 + HOUR(utc_hour) * 60 AS observed_minute,
            ROW_NUMBER() OVER (PARTITION BY origin, utc_hour ORDER BY temp, dewp, humid, wind_speed, pressure) AS copy
        FROM (SELECT weather.*, CAST(time_hour AS TIMESTAMP) AS utc_hour FROM weather) w
    ) v
    WHERE copy = 1
),
skies AS (
    -- The hour stamped H counts as known at H + 1 h; the latest of the last six hours is taken.
    SELECT
        flight_id, score_date, origin, minute, asked,
        MAX(observed_minute) OVER (PARTITION BY origin ORDER BY minute RANGE BETWEEN 360 PRECEDING AND CURRENT ROW)
            AS observed_minute
    FROM (
        SELECT flight_id, score_date, origin, minute, CAST(NULL AS BIGINT) AS observed_minute, 1 AS asked FROM questions
        UNION ALL
        SELECT NULL, NULL, origin, observed_minute + 60, observed_minute, 0
        FROM observations
    ) known
)
SELECT
    a.score_date,
    a.flight_id,
    TIMESTAMP '1970-01-01 00:00:00' + a.moment_minute * INTERVAL '1' MINUTE AS score_moment,
    a.carrier,
    a.origin,
    a.dest,
    CASE (a.local_day + 3) % 7
        WHEN 0 THEN 'Monday' WHEN 1 THEN 'Tuesday' WHEN 2 THEN 'Wednesday' WHEN 3 THEN 'Thursday'
        WHEN 4 THEN 'Friday' WHEN 5 THEN 'Saturday' ELSE 'Sunday' END AS day_of_week,
    CAST(a.departure_minute AS DOUBLE) AS departure_minute,
    CAST(a.scheduled_minutes AS DOUBLE) AS scheduled_minutes,
    CAST(a.distance AS DOUBLE) AS distance,
    CAST(s.minute - s.observed_minute AS DOUBLE) / 60 AS weather_age_hours,
    o.temp AS temperature,
    o.dewp AS dew_point,
    o.humid AS humidity,
    o.wind_speed AS wind_speed,
    COALESCE(o.wind_gust, o.wind_speed) AS wind_gust, -- a gust is only reported where there is one
    o.precip AS precipitation,
    o.pressure AS pressure,
    o.visib AS visibility,
    CAST(d.origin_departure_delay_2h AS DOUBLE) / NULLIF(d.origin_departed_2h, 0) AS origin_departure_delay_2h,
    CAST(d.origin_overdue_3h AS DOUBLE) AS origin_overdue_3h,
    CAST(c.origin_late_6h AS DOUBLE) / NULLIF(c.origin_arrived_6h, 0) AS origin_late_rate_6h,
    CAST(c.origin_arrived_6h AS DOUBLE) AS origin_outcomes_6h,
    CAST(d.carrier_departure_delay_3h AS DOUBLE) / NULLIF(d.carrier_departed_3h, 0) AS carrier_departure_delay_3h,
    CAST(c.carrier_late_24h AS DOUBLE) / NULLIF(c.carrier_arrived_24h, 0) AS carrier_late_rate_24h,
    CAST(c.carrier_late_7d AS DOUBLE) / NULLIF(c.carrier_arrived_7d, 0) AS carrier_late_rate_7d,
    CAST(c.dest_late_6h AS DOUBLE) / NULLIF(c.dest_arrived_6h, 0) AS dest_late_rate_6h,
    CAST(c.route_late_28d AS DOUBLE) / NULLIF(c.route_arrived_28d, 0) AS route_late_rate_28d,
    CAST(c.hour_late_28d AS DOUBLE) / NULLIF(c.hour_arrived_28d, 0) AS hour_late_rate_28d
FROM accepted a
JOIN outcomes c ON c.asked = 1 AND c.score_date = a.score_date AND c.flight_id = a.flight_id
JOIN airport d ON d.asked = 1 AND d.score_date = a.score_date AND d.flight_id = a.flight_id
JOIN skies s ON s.asked = 1 AND s.score_date = a.score_date AND s.flight_id = a.flight_id
LEFT JOIN observations o ON o.origin = s.origin AND o.observed_minute = s.observed_minute
WHERE a.score_date BETWEEN :from_date AND :to_date
